"""Starting weights that can already copy: an induction circuit written by hand into the first two layers.

A tiny model finds this circuit by itself only after an hour of training on two cores. It needs a head that looks one
token back (layer 0) and heads that look for the place after an earlier copy of the present token and repeat what
stands there (layer 1). The residual stream is shared out: dimension 0 is the same for all tokens (a constant to query
with), the next `MIXED` hold the token, the last `HEAD` the token before. Training goes on from there with all weights.
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
FAST, SLOW = range(4), range(6, HEAD // 2)
"""Pairs of a head's dimensions: the fast ones turn enough in one step to tell neighbours apart, the slow ones hardly
turn over a whole prompt."""


@torch.no_grad()
def write_copying(model: LlamaForCausalLM, theta: float) -> None:
    """Write the circuit into `model`, whose heads are `HEAD` wide and whose rotary base is `theta`."""
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()  # what the circuit does not use writes nothing yet
    mix = torch.randn(HEAD, MIXED) / math.sqrt(MIXED)
    _share_out(model.get_parameter("model.embed_tokens.weight"))
    _look_one_back(model, mix, theta)
    _find_same_and_copy(model, mix)


def _share_out(embedding: torch.Tensor) -> None:
    """Give all tokens the same norm, so that no token draws attention by its length."""
    embedding.normal_()
    embedding *= SPREAD * math.sqrt(MIXED) / embedding[:, 1 : 1 + MIXED].norm(dim=1, keepdim=True)
    embedding[:, 0] = CONSTANT
    embedding[:, 1 + MIXED :] = 0


def _look_one_back(model: LlamaForCausalLM, mix: torch.Tensor, theta: float) -> None:
    query, key, value, out = _projections(model, layer=0)
    for weight in (query, key, value):
        weight[:HEAD] = 0
    for pair in FAST:
        angle = theta ** (-2 * pair / HEAD)
        query[pair, 0] = SHARPNESS
        key[pair, 0], key[pair + HEAD // 2, 0] = SHARPNESS * math.cos(angle), SHARPNESS * math.sin(angle)
    value[:HEAD, 1 : 1 + MIXED] = mix
    out[-HEAD:, :HEAD] = SPREAD * torch.eye(HEAD)


def _find_same_and_copy(model: LlamaForCausalLM, mix: torch.Tensor) -> None:
    query, key, value, out = _projections(model, layer=1)
    copied = COPIERS * HEAD
    for weight in (query, key, value):
        weight[:copied] = 0
    for start in range(0, copied, HEAD):
        for d in (d for pair in SLOW for d in (pair, pair + HEAD // 2)):
            query[start + d, 1 : 1 + MIXED] = SHARPNESS * mix[d]
            key[start + d, d - HEAD] = SHARPNESS
    value[:copied, :copied] = torch.eye(copied)
    out[:copied, :copied] = 2 * SPREAD * torch.eye(copied)


def _projections(model: LlamaForCausalLM, layer: int) -> list[torch.Tensor]:
    return [model.get_parameter(f"model.layers.{layer}.self_attn.{part}_proj.weight") for part in "qkvo"]
