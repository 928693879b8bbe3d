"""Counts the floating-point operations that a training step requires.

Per token, a frozen base weight costs two operations in the forward pass and two for the input's gradient; an adapter
weight costs two more for its own gradient. The head is applied only at label tokens. Attention is causal within
documents. Recomputed activations are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class ModelFlops:
    """Weights of a model that are multiplied with each token, by kind."""

    base: int
    adapter: int
    head: int
    attention: int
    """Number of heads times their dimension, summed over all layers."""

    @classmethod
    def of(cls, model: Any) -> ModelFlops:
        """Count the weights of a PEFT model's linear layers."""
        causal = model.get_base_model()
        head = causal.get_output_embeddings()
        base = adapter = 0
        for name, module in causal.get_decoder().named_modules():
            if isinstance(module, torch.nn.Linear):
                weights = module.in_features * module.out_features
                if ".lora_" in name:
                    adapter += weights
                else:
                    base += weights
        config = causal.config.get_text_config()
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        attention = config.num_hidden_layers * config.num_attention_heads * width
        return cls(base, adapter, head.in_features * head.out_features, attention)

    def of_step(self, tokens: int, labels: int, squares: int) -> int:
        """Return the operations of forward and backward pass; `squares` sums the documents' squared lengths."""
        return tokens * (4 * self.base + 6 * self.adapter) + labels * 4 * self.head + 6 * squares * self.attention
