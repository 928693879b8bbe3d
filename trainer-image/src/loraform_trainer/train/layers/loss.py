"""The loss of a pack: cross-entropy of the responses' tokens, computed without the logits of all tokens.

Only positions that predict a response are given to the output head, a few hundred rows of logits at a time; the
gradient of a piece is taken while it is there, so no more than that piece ever exists. That is allowed because the head
is frozen: all that flows back is the gradient of the hidden states.

It is right only for models whose logits are the hidden states times the head, which is proved on a sample before
training (`PackLoss.prove`); models that scale or bound their logits, or adapt the head, compute them by themselves,
at the same positions.
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
"""Logits in a piece on a CPU: 8 MiB, what its caches hold. Larger pieces were slower."""
LOGITS_ON_GPU = 2**27
"""Logits in a piece on a GPU: 512 MiB, a thousand rows of the largest vocabularies."""
SAME = 1e-4
"""Largest difference between the model's logits and ours, by the largest logit."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of `hidden @ weight.T`; its gradient is taken in the forward pass."""

    @staticmethod
    @override
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        rows = rows_at_once(len(labels), len(weight), hidden.device)
        for begin in range(0, len(labels), rows):
            piece, wanted = hidden[begin : begin + rows], labels[begin : begin + rows, None]
            logits = (piece @ weight.T).float()
            logits -= logits.amax(dim=-1, keepdim=True)
            chosen = logits.gather(1, wanted)
            odds = logits.exp_()
            sums = odds.sum(dim=-1, keepdim=True)
            total += (sums.log() - chosen).sum()
            if gradient is not None:
                odds /= sums
                odds.scatter_add_(1, wanted, odds.new_full(wanted.shape, -1.0))
                torch.mm(odds.to(weight.dtype), weight, out=gradient[begin : begin + rows])
        ctx.gradient = gradient
        return total

    @staticmethod
    @override
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (scale,) = outputs
        return ctx.gradient * scale.to(ctx.gradient.dtype), None, None


def rows_at_once(labels: int, vocabulary: int, device: torch.device) -> int:
    """Return the rows of a piece: an eighth of the labels at most, so that copies in two number types stay below a
    quarter of all logits."""
    most = (LOGITS_ON_GPU if device.type == "cuda" else LOGITS_ON_CPU) // vocabulary
    return max(1, min(most, -(-labels // 8)))


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy of the frozen head `weight` (V, H) at `hidden` (n, H) for labels (n,)."""
    total: torch.Tensor = _LinearCrossEntropy.apply(hidden, weight, labels)  # type: ignore[no-untyped-call] # torch's
    return total


@dataclass(frozen=True, slots=True)
class PackLoss:
    """Sums the losses of a pack's labels, for a causal language model with a frozen head."""

    model: Any
    """The causal model itself, adapters in it."""
    fused: bool
    """The head is applied here, piece by piece."""

    @classmethod
    def prove(cls, model: Any, documents: Sequence[Sequence[int]]) -> PackLoss:
        """Choose the fused loss where the model's own logits are those of its head, and log what was chosen."""
        direct = cls(model, fused=True)
        bounded = getattr(model.config.get_text_config(), "final_logit_softcapping", None)  # too little on a sample
        fused = not bounded and _plain(model.get_output_embeddings()) and direct.matches(documents)
        if fused:
            log.info("loss: head and cross-entropy in one, at response tokens only")
        else:
            log.info(
                "loss: by the model's own logits at response tokens, since %s changes them", model.config.model_type
            )
        return cls(model, fused)

    @torch.no_grad()
    def matches(self, documents: Sequence[Sequence[int]]) -> bool:
        """Say whether the head times the hidden states is what the model itself returns."""
        pack = of_documents(documents).to(self.model.device)
        own = self.model(**pack.inputs(), logits_to_keep=pack.at).logits[0].float()
        ours = (self.hidden(pack)[0, pack.at] @ self.model.get_output_embeddings().weight.T).float()
        return bool((own - ours).abs().max() <= SAME * ours.abs().max())

    def hidden(self, pack: Pack) -> torch.Tensor:
        """Return the hidden states before the head: (1, T, H)."""
        states: torch.Tensor = self.model.get_decoder()(**pack.inputs()).last_hidden_state
        return states

    def __call__(self, pack: Pack) -> torch.Tensor:
        """Return the sum over the pack's labels, float32; of a pack without labels, 0 that still has a gradient."""
        if self.fused:
            states = self.hidden(pack)[0]
            if not len(pack.labels):
                return states.float().sum() * 0.0
            return linear_cross_entropy(states[pack.at], self.model.get_output_embeddings().weight, pack.labels)
        logits = self.model(**pack.inputs(), logits_to_keep=pack.at).logits[0].float()
        return F.cross_entropy(logits, pack.labels, reduction="sum")


def _plain(head: torch.nn.Module) -> bool:
    return type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
