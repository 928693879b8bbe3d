"""Attention within each document of a pack, without a mask of the whole pack.

transformers calls `attend` in each layer with the document boundaries from the collator (`cu_seq_lens_q`). On a CPU
each document is one causal SDPA call without a mask; on a GPU all documents are one call of torch's variable-length
flash attention. A batch without boundaries has one unpadded document per row.

`check_layer_types` refuses layers of other kinds before training. `check_packing` refuses a model that does not pass
the boundaries to its layers: two documents must have the same hidden states packed as alone.
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
"""The attention implementation's name in a model's config, valid after `register`."""

FLASH_HEAD_DIM = 256
"""Largest head dimension that torch's flash attention supports."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 6e-2}
"""Largest difference of hidden states due to rounding, relative to their largest value."""
SUPPORTED_LAYERS = ("full_attention", "sliding_attention")


def register() -> None:
    """Register the attention with transformers; idempotent."""
    AttentionInterface.register(NAME, attend)


def attend(  # noqa: PLR0913 (transformers' interface)
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
        outputs = [_capped(q, k, v, scaling, sliding_window, softcap) for q, k, v in documents]
    else:
        outputs = [_document(q, k, v, scaling, sliding_window) for q, k, v in documents]
    return torch.cat([output.transpose(1, 2) for output in outputs], dim=1), None


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
    """Return attention with scores bounded by tanh (Gemma 2), which SDPA does not support."""
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = torch.tanh(scores / softcap) * softcap
    mask = _band(query.shape[2], window or query.shape[2], query.device)
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1, dtype=torch.float32)
    return weights.to(query.dtype) @ value


def _band(tokens: int, window: int, device: torch.device) -> torch.Tensor:
    """Return the mask in which each token attends to itself and the `window - 1` tokens before it."""
    positions = torch.arange(tokens, device=device)
    distance = positions[:, None] - positions[None, :]
    return (distance >= 0) & (distance < window)


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


def check_layer_types(config: Any) -> None:
    """Raise BaseModelInvalidError, naming the layer, if a layer's attention does not support packed rows."""
    for number, kind in enumerate(getattr(config, "layer_types", None) or ()):
        if kind not in SUPPORTED_LAYERS:
            raise BaseModelInvalidError(
                f"baseModel: layer {number} of this {config.model_type} model is {kind!r}; rows can be packed only for"
                f" layers of {' and '.join(SUPPORTED_LAYERS)}"
            )


@torch.no_grad()
def check_packing(hidden: Any, documents: Sequence[Sequence[int]], device: torch.device) -> None:
    """Raise BaseModelInvalidError unless `hidden(pack)` (1, tokens, width) is equal for documents packed and alone."""
    packed = hidden(of_documents(documents).to(device))
    alone = torch.cat([hidden(of_documents([d]).to(device)) for d in documents], dim=1)
    allowed = TOLERANCE.get(packed.dtype, TOLERANCE[torch.bfloat16]) * float(alone.abs().max())
    if (difference := float((packed - alone).abs().max())) > allowed:
        raise BaseModelInvalidError(
            f"baseModel: in this architecture packed rows attend to each other (hidden states differ by"
            f" {difference:.2g}, rounding explains {allowed:.2g}), so it cannot be trained exactly"
        )
