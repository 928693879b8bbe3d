"""The loss of a pack: cross-entropy of its label tokens, without a tensor of all logits.

The output head is applied only at positions that predict a label, to a few hundred rows at a time (a chunk), and the
gradient of a chunk is computed before the next one. This is valid because the head is frozen: only the hidden states
need a gradient.

It also requires that logits are the hidden states times the head, which `PackLoss.choose` checks on a sample before
training. Models that scale or bound their logits, or adapt the head, compute their logits themselves, at the same
positions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from typing_extensions import override

from loraform_trainer.train.collate import Pack, of_documents

log = logging.getLogger(__name__)

LOGITS_ON_CPU = 2**21
"""Logits in a chunk on a CPU: 8 MiB, which fits its caches. Larger chunks were slower."""
LOGITS_ON_GPU = 2**27
"""Logits in a chunk on a GPU: 512 MiB, a thousand rows of the largest vocabularies."""
TOLERANCE = 1e-4
"""Largest difference between the model's logits and ours, relative to the largest logit."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of `hidden @ weight.T`; the forward pass also computes the gradient."""

    @staticmethod
    @override
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        rows = rows_per_chunk(len(labels), len(weight), hidden.device)
        for begin in range(0, len(labels), rows):
            chunk, chunk_labels = hidden[begin : begin + rows], labels[begin : begin + rows, None]
            logits = (chunk @ weight.T).float()
            logits -= logits.amax(dim=-1, keepdim=True)
            label_logits = logits.gather(1, chunk_labels)
            odds = logits.exp_()
            sums = odds.sum(dim=-1, keepdim=True)
            total += (sums.log() - label_logits).sum()
            if gradient is not None:
                odds /= sums
                odds.scatter_add_(1, chunk_labels, odds.new_full(chunk_labels.shape, -1.0))
                torch.mm(odds.to(weight.dtype), weight, out=gradient[begin : begin + rows])
        ctx.gradient = gradient
        return total

    @staticmethod
    @override
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (scale,) = outputs
        return ctx.gradient * scale.to(ctx.gradient.dtype), None, None


def rows_per_chunk(labels: int, vocabulary: int, device: torch.device) -> int:
    """Return the rows of a chunk, at most an eighth of the labels.

    So the chunk's copies in two dtypes stay below a quarter of all logits.
    """
    limit = (LOGITS_ON_GPU if device.type == "cuda" else LOGITS_ON_CPU) // vocabulary
    return max(1, min(limit, -(-labels // 8)))


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy of labels (n,) for hidden states (n, H) and the frozen head `weight` (V, H)."""
    total: torch.Tensor = _LinearCrossEntropy.apply(hidden, weight, labels)  # type: ignore[no-untyped-call] # torch's
    return total


@dataclass(frozen=True, slots=True)
class PackLoss:
    """Computes the summed loss of a pack's labels, for a causal language model."""

    model: Any
    """The causal model, adapters included."""
    fused: bool
    """Apply the head here, chunk by chunk."""

    @classmethod
    def choose(cls, model: Any, documents: Sequence[Sequence[int]]) -> PackLoss:
        """Return the fused loss if the model's logits are its hidden states times its head, else the model's own."""
        candidate = cls(model, fused=True)
        bounded = getattr(model.config.get_text_config(), "final_logit_softcapping", None)  # may not show on a sample
        fused = not bounded and _plain(model.get_output_embeddings()) and candidate.matches(documents)
        if fused:
            log.info("loss: fused head and cross-entropy, at response tokens only")
        else:
            log.info("loss: the model's own logits at response tokens, as %s transforms them", model.config.model_type)
        return cls(model, fused)

    @torch.no_grad()
    def matches(self, documents: Sequence[Sequence[int]]) -> bool:
        """Return True if the hidden states times the head are the model's own logits."""
        pack = of_documents(documents).to(self.model.device)
        own = self.model(**pack.inputs(), logits_to_keep=pack.label_positions).logits[0].float()
        ours = (self.hidden(pack)[0, pack.label_positions] @ self.model.get_output_embeddings().weight.T).float()
        return bool((own - ours).abs().max() <= TOLERANCE * ours.abs().max())

    def hidden(self, pack: Pack) -> torch.Tensor:
        """Return the hidden states before the head: (1, T, H)."""
        states: torch.Tensor = self.model.get_decoder()(**pack.inputs()).last_hidden_state
        return states

    def __call__(self, pack: Pack) -> torch.Tensor:
        """Return the float32 sum over the pack's labels; for a pack without labels, 0 with a gradient of zeros."""
        if self.fused:
            states = self.hidden(pack)[0]
            if not len(pack.labels):
                return states.float().sum() * 0.0
            return linear_cross_entropy(
                states[pack.label_positions], self.model.get_output_embeddings().weight, pack.labels
            )
        logits = self.model(**pack.inputs(), logits_to_keep=pack.label_positions).logits[0].float()
        return F.cross_entropy(logits, pack.labels, reduction="sum")


def _plain(head: torch.nn.Module) -> bool:
    return type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
