"""Tiny random models with adapters that say something, and rows to train them on, in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from loraform_trainer.train.layers import attention
from loraform_trainer.train.layers.lora import fuse_lora_layers
from loraform_trainer.train.token_rows import TokenRows

VOCABULARY, END = 331, 1
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "use_cache": True,
}  # fmt: skip


def llama(**extra: Any) -> Any:
    torch.manual_seed(3)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, **extra))


def qwen2(**extra: Any) -> Any:
    torch.manual_seed(4)
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True, **extra))


def adapted(base: Any, implementation: str = attention.NAME) -> Any:
    """Put an adapter on all linear layers that changes what the base says, and choose the attention."""
    attention.register()
    base.set_attn_implementation(implementation)
    model: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear"))
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    if implementation == attention.NAME:
        assert fuse_lora_layers(model) == 2 * 7
    return model


def rows_of(documents: list[tuple[list[int], list[int]]]) -> TokenRows:
    """Return rows of prompts and responses."""
    lists = pa.list_(pa.int32())
    return TokenRows(
        pa.table(
            {
                "id": [str(i) for i in range(len(documents))],
                "prompt_ids": pa.array([p for p, _ in documents], lists),
                "response_ids": pa.array([r for _, r in documents], lists),
            }
        )
    )


def random_rows(count: int, seed: int = 0) -> TokenRows:
    """Return rows of 12 to 90 tokens, each response with its end of text."""
    chance = np.random.default_rng(seed)

    def ids(length: int) -> list[int]:
        return chance.integers(2, VOCABULARY, length).tolist()

    return rows_of([(ids(chance.integers(4, 30)), [*ids(chance.integers(7, 59)), END]) for _ in range(count)])


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Return the adapter's gradients by name, and forget them."""
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of gradients, by the largest gradient of all."""
    assert one.keys() == other.keys()
    assert one
    scale = max(float(g.abs().max()) for g in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / scale
