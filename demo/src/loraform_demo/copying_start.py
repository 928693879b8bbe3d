"""Starting weights that can already copy: an induction circuit written by hand into the first two layers.

Left to itself a tiny model had not found this circuit after 750 steps; with it, it copies after 150. It needs heads
that look one and two tokens back (layer 0) and heads that look for the place after an earlier copy of the present and
the previous token and repeat what stands there (layer 1). The residual stream is shared out: dimension 0 is the same
for all tokens (a constant to query with), the next `MIXED` hold the token, the last two times `HEAD` the tokens two and
one before. Training goes on from there with all weights.
"""

from __future__ import annotations

import math

import torch
from transformers import LlamaForCausalLM

HEAD = 32
COPIERS = 4
MIXED = COPIERS * HEAD - 1
SPREAD = 0.05
CONSTANT = 4 * SPREAD
SHARPNESS = 2.0
FAST, NEAR, FAR = range(4), (6, 7, 8, 9, 10, 11), (12, 13, 14, 15)
"""Pairs of a head's dimensions: the fast ones turn enough in one step to tell neighbours apart; the others hardly turn
over a whole prompt and compare the present token (`NEAR`) and the previous one (`FAR`)."""


@torch.no_grad()
def write_copying(model: LlamaForCausalLM, theta: float) -> None:
    """Write the circuit into `model`, whose heads are `HEAD` wide and whose rotary base is `theta`."""
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()  # what the circuit does not use writes nothing yet
    mix = torch.randn(HEAD, MIXED) / math.sqrt(MIXED)
    _share_out(model.get_parameter("model.embed_tokens.weight"))
    for head, back in enumerate((1, 2)):
        _look_back(model, head, back, mix, theta)
    _find_same_and_copy(model, mix)


def _share_out(embedding: torch.Tensor) -> None:
    """Give all tokens the same norm, so that no token draws attention by its length."""
    embedding.normal_()
    embedding *= SPREAD * math.sqrt(MIXED) / embedding[:, 1 : 1 + MIXED].norm(dim=1, keepdim=True)
    embedding[:, 0] = CONSTANT
    embedding[:, 1 + MIXED :] = 0


def _look_back(model: LlamaForCausalLM, head: int, back: int, mix: torch.Tensor, theta: float) -> None:
    """Let a head of layer 0 write the mixed token of `back` positions before into its part of the stream."""
    start, end = head * HEAD, (head + 1) * HEAD
    query, key, value, out = _projections(model, layer=0)
    for weight in (query, key, value):
        weight[start:end] = 0
    for pair in FAST:
        angle = back * theta ** (-2 * pair / HEAD)
        query[start + pair, 0] = SHARPNESS
        key[start + pair, 0] = SHARPNESS * math.cos(angle)
        key[start + pair + HEAD // 2, 0] = SHARPNESS * math.sin(angle)
    value[start:end, 1 : 1 + MIXED] = mix
    place = out.shape[0] - back * HEAD
    out[place : place + HEAD, start:end] = SPREAD * torch.eye(HEAD)


def _find_same_and_copy(model: LlamaForCausalLM, mix: torch.Tensor) -> None:
    query, key, value, out = _projections(model, layer=1)
    copied = COPIERS * HEAD
    one_back, two_back = query.shape[1] - HEAD, query.shape[1] - 2 * HEAD
    for weight in (query, key, value):
        weight[:copied] = 0
    for start in range(0, copied, HEAD):
        for d in _both_of(NEAR):
            query[start + d, 1 : 1 + MIXED] = SHARPNESS * mix[d]
            key[start + d, one_back + d] = SHARPNESS
        for d in _both_of(FAR):
            query[start + d, one_back + d] = SHARPNESS
            key[start + d, two_back + d] = SHARPNESS
    value[:copied, :copied] = torch.eye(copied)
    out[:copied, :copied] = 2 * SPREAD * torch.eye(copied)


def _both_of(pairs: tuple[int, ...]) -> list[int]:
    return [d for pair in pairs for d in (pair, pair + HEAD // 2)]


def _projections(model: LlamaForCausalLM, layer: int) -> list[torch.Tensor]:
    return [model.get_parameter(f"model.layers.{layer}.self_attn.{part}_proj.weight") for part in "qkvo"]
