"""Layers in fewer passes: a block says and learns what transformers' own does, and keeps less for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama import modeling_llama

from loraform_trainer.train.layers import blocks
from loraform_trainer.train.layers.blocks import fuse_block_layers
from loraform_trainer.train.layers.lora import fuse_lora_layers

from .saved_tensors import Saved

SIZES = {
    "vocab_size": 331, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
IDS = torch.randint(2, 331, (2, 61), generator=torch.Generator().manual_seed(3))
PER_BLOCK = {"llama": 2, "mistral": 2, "qwen2": 2, "granite": 2, "qwen3": 4}
NEAR = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


@pytest.fixture(autouse=True)
def rotations() -> Iterator[None]:
    """Give transformers its own rotations back."""
    yield
    for name, module in sys.modules.items():
        light = vars(module).get(blocks.ROTATION) if ".modeling_" in name else None
        if isinstance(light, blocks._Rotation):
            setattr(module, blocks.ROTATION, light._original)


def model_of(family: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A random model with an adapter that says something."""
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES | changes), dtype=dtype)
    model: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
        if "norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    return model


def learnt(model: Any) -> tuple[float, list[torch.Tensor]]:
    """Return loss and gradients of the adapter."""
    with torch.autocast("cpu", torch.bfloat16, enabled=model.dtype is torch.bfloat16):
        loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
    loss.backward()
    return float(loss.detach()), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("dtype", list(NEAR), ids=str)
@pytest.mark.parametrize("family", PER_BLOCK)
def test_loss_and_gradients_are_those_of_transformers(family: str, dtype: torch.dtype, recompute: bool) -> None:
    own = model_of(family, dtype)
    light = deepcopy(own)
    loss, gradients = learnt(own)
    done = fuse_block_layers(light.get_base_model())
    assert done == {"norms": 2 * PER_BLOCK[family] + 1, "gated MLPs": 2, "rotations": 2}
    if recompute:
        light.gradient_checkpointing_enable({"use_reentrant": False})
        light.train()
    same_loss, same_gradients = learnt(light)
    assert same_loss == pytest.approx(loss, rel=NEAR[dtype])
    largest = max(float(g.abs().max()) for g in gradients)
    assert len(same_gradients) == len(gradients)
    for one, other in zip(gradients, same_gradients, strict=True):
        assert float((one - other).abs().max()) < NEAR[dtype] * largest


def kept(model: Any) -> int:
    """Bytes of what a forward pass leaves for the backward pass."""
    saved = Saved(model)
    with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda kept: kept.tensor):
        states = model.get_base_model().get_decoder()(input_ids=IDS, use_cache=False).last_hidden_state
    assert states.requires_grad
    return saved.bytes


def test_less_is_kept() -> None:
    model = model_of("llama", torch.bfloat16, intermediate_size=256)
    fuse_lora_layers(model)
    with torch.autocast("cpu", torch.bfloat16):
        before = kept(model)
        fuse_block_layers(model.get_base_model())
        assert kept(model) < 0.85 * before


@pytest.mark.parametrize(
    ("family", "changes", "done"),
    [
        ("gemma2", {}, {"norms": 0, "gated MLPs": 0, "rotations": 2}),  # weights from 0, and GeGLU
        ("llama", {"hidden_act": "gelu"}, {"norms": 5, "gated MLPs": 0, "rotations": 2}),
        ("cohere", {}, {"norms": 0, "gated MLPs": 2, "rotations": 0}),  # layer norm; neighbours are turned, not halves
    ],
)
def test_other_kinds_of_layers_stay_as_they_are(family: str, changes: dict[str, Any], done: dict[str, int]) -> None:
    own = model_of(family, **changes)
    light = deepcopy(own)
    loss, _ = learnt(own)
    assert fuse_block_layers(light.get_base_model()) == done
    assert learnt(light)[0] == pytest.approx(loss, rel=1e-5)


def test_a_norm_that_is_trained_stays_as_it_is() -> None:
    model = model_of("llama").get_base_model()
    model.model.norm.weight.requires_grad_()
    assert fuse_block_layers(model)["norms"] == 4


def test_a_rotation_of_a_part_of_the_head_is_left_to_transformers() -> None:
    fuse_block_layers(model_of("llama").get_base_model())
    query, angles = torch.randn(1, 2, 5, 16), torch.randn(1, 5, 8)
    with pytest.raises(RuntimeError, match="size"):  # transformers' own cannot either
        modeling_llama.apply_rotary_pos_emb(query, query, angles.cos(), angles.sin())


def test_again_changes_nothing() -> None:
    model = model_of("llama").get_base_model()
    first = fuse_block_layers(model)
    assert fuse_block_layers(model) == first
