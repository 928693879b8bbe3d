"""Attention of packed documents: each sees itself alone, and no mask of the whole pack is ever made.

transformers calls `attend` in each layer with what the collator says of the pack (`cu_seq_lens_q`: where documents
begin and end). On a CPU each document is one causal SDPA call, exact and without a mask; on a GPU all are one call of
torch's variable-length flash attention. A batch without boundaries is one document a row, never padded.

What this cannot do is refused by name before training (`check`), and a model that would not hand the boundaries down
to its layers is caught by `prove`: it must say the same of two documents packed as of each alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from loraform_trainer.runtime.errors import BaseModelInvalidError
from loraform_trainer.train.collate import of_documents

NAME = "loraform_varlen"
"""What a model's config calls this attention once `register` has run."""

FLASH_HEAD_DIM = 256
"""Widest head of torch's flash attention."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 6e-2}
"""Largest difference of hidden states that rounding explains, by their largest value."""
KNOWN = ("full_attention", "sliding_attention")


def register() -> None:
    """Make the attention known to transformers; again is harmless."""
    AttentionInterface.register(NAME, attend)


def attend(  # noqa: PLR0913 (transformers says what it passes)
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return causal attention within each document: (batch, tokens, heads, width).

    `query` is (batch, heads, tokens, width); `key` and `value` may have fewer heads. With boundaries the batch is 1.
    Dropout is not applied: adapters are trained without it.
    """
    if _flash(query, softcap):
        return _varlen(query, key, value, scaling, sliding_window, cu_seq_lens_q, max_length_q), None
    tokens = query.shape[2]
    lengths = [tokens] if cu_seq_lens_q is None else [b - a for a, b in pairwise(cu_seq_lens_q.tolist())]
    documents = zip(*(torch.split(t, lengths, dim=2) for t in (query, key, value)), strict=True)
    if softcap is not None:
        done = [_capped(q, k, v, scaling, sliding_window, softcap) for q, k, v in documents]
    else:
        done = [_document(q, k, v, scaling, sliding_window) for q, k, v in documents]
    return torch.cat([d.transpose(1, 2) for d in done], dim=1), None


def _document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, window: int | None
) -> torch.Tensor:
    gqa = query.shape[1] != key.shape[1]
    if window is None or query.shape[2] <= window:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=gqa)
    mask = _band(query.shape[2], window, query.device)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=gqa)


def _capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
    softcap: float,
) -> torch.Tensor:
    """Attention whose scores are bounded by tanh (Gemma 2), which SDPA does not know."""
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = torch.tanh(scores / softcap) * softcap
    mask = _band(query.shape[2], window or query.shape[2], query.device)
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1, dtype=torch.float32)
    return weights.to(query.dtype) @ value


def _band(tokens: int, window: int, device: torch.device) -> torch.Tensor:
    """Return which token sees which: itself and the `window - 1` before it."""
    at = torch.arange(tokens, device=device)
    behind = at[:, None] - at[None, :]
    return (behind >= 0) & (behind < window)


def _flash(query: torch.Tensor, softcap: float | None) -> bool:
    return (
        query.is_cuda
        and softcap is None
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] <= FLASH_HEAD_DIM
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
    boundaries: torch.Tensor | None,
    longest: int | None,
) -> torch.Tensor:
    batch, heads, tokens, width = query.shape
    if boundaries is None or longest is None:
        boundaries = torch.arange(0, (batch + 1) * tokens, tokens, dtype=torch.int32, device=query.device)
        longest = tokens
    flat_query, flat_key, flat_value = (
        t.transpose(1, 2).reshape(batch * tokens, t.shape[1], width) for t in (query, key, value)
    )
    out: Any = varlen_attn(
        flat_query,
        flat_key,
        flat_value,
        boundaries,
        boundaries,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=heads != key.shape[1],
    )
    shaped: torch.Tensor = out.view(batch, tokens, heads, width)
    return shaped


def check(config: Any) -> None:
    """Raise BaseModelInvalidError when a layer attends in a way that packed rows do not allow, naming the layer."""
    for number, kind in enumerate(getattr(config, "layer_types", None) or ()):
        if kind not in KNOWN:
            raise BaseModelInvalidError(
                f"baseModel: layer {number} of this {config.model_type} model is {kind!r}; rows can be packed only for"
                f" layers of {' and '.join(KNOWN)}"
            )


@torch.no_grad()
def prove(hidden: Any, documents: Sequence[Sequence[int]], device: torch.device) -> None:
    """Raise BaseModelInvalidError unless `hidden(pack)` (1, tokens, width) says of each document what it says alone."""
    packed = hidden(of_documents(documents).to(device))
    alone = torch.cat([hidden(of_documents([d]).to(device)) for d in documents], dim=1)
    allowed = TOLERANCE.get(packed.dtype, TOLERANCE[torch.bfloat16]) * float(alone.abs().max())
    if (difference := float((packed - alone).abs().max())) > allowed:
        raise BaseModelInvalidError(
            f"baseModel: this architecture lets packed rows see each other (hidden states differ by {difference:.2g},"
            f" {allowed:.2g} is rounding), so it cannot be trained exactly"
        )
