"""The estimate's activations against the tensors that torch saves for the backward pass of the trainer's own loss."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.run import RunConfig
from loraform_api.training import LoRASpec
from loraform_trainer.train.collate import of_documents
from loraform_trainer.train.estimate import estimate, shape
from loraform_trainer.train.layers import attention, loss
from loraform_trainer.train.layers.blocks import fuse_block_layers
from loraform_trainer.train.layers.lora import fuse_lora_layers
from loraform_trainer.train.model import build

from .saved_tensors import Saved

TOKENS = 384
SIZES = {
    "vocab_size": 512, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4, "max_position_embeddings": 512, "tie_word_embeddings": False,
}  # fmt: skip
DISTINCT = ["llama", "qwen2", "qwen3"]
"""Mistral's and Granite's blocks keep what Llama's do."""
SPEC = {
    "baseModel": {"storageUri": "pvc://models/tiny"},
    "dataset": {"sources": [{"name": "data", "configMap": {"name": "rows", "key": "rows.jsonl"}}]},
    "evaluation": {"suites": [{"name": "held-out", "configMap": {"name": "suite", "key": "suite.jsonl"}}]},
    "output": {"storageUri": "pvc://artifacts/team/adapters"},
    "training": {"maxSequenceLength": TOKENS},
}


def base(folder: Path, family: str) -> Path:
    config = AutoConfig.for_model(family, **SIZES)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def run_config(dtype: str = "float32", **changes: Any) -> RunConfig:
    images = {"trainer": "t", "verifier": "v", "engine": "e"}
    run = {"namespace": "d", "name": "job", "uid": "1", "spec": {**SPEC, **changes}, "images": images}
    return RunConfig.model_validate({**run, "engineDtype": dtype})


def measured(config: RunConfig, folder: Path, precision: AbstractContextManager[Any]) -> int:
    """Train one pack of one document, as the trainer does, and count what is saved when the loss is known."""
    attention.register()
    model = build(config, folder, attention=attention.NAME)
    fuse_lora_layers(model)
    fuse_block_layers(model.get_base_model())
    pack = of_documents([torch.arange(2, TOKENS + 2).tolist()])
    saved = Saved(model)
    with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda kept: kept.tensor), precision:
        graph = loss.PackLoss(model.get_base_model(), fused=True)(pack)
    assert graph.requires_grad
    return saved.bytes


def estimated(spec: FineTuneJobSpec, folder: Path, dtype: str) -> int:
    found = shape.read(folder)
    layers = found.layers * estimate.layer_activations(found, spec, dtype)
    return TOKENS * (layers + estimate.end_activations(found, dtype))


@pytest.mark.parametrize("family", DISTINCT)
@pytest.mark.parametrize("modules", [[], ["q_proj", "v_proj"], ["v_proj", "down_proj"]])
def test_float32_activations_are_within_15_percent(tmp_path: Path, family: str, modules: list[str]) -> None:
    config = run_config(lora={"targetModules": modules, "rank": 16})
    folder = base(tmp_path, family)
    found = measured(config, folder, nullcontext())
    assert estimated(config.spec, folder, "float32") == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("family", DISTINCT)
@pytest.mark.parametrize("modules", [[], ["q_proj", "v_proj"], ["v_proj", "down_proj"]])
def test_bfloat16_activations_are_within_15_percent(tmp_path: Path, family: str, modules: list[str]) -> None:
    """Under autocast, as the trainer computes on a GPU."""
    config = run_config("bfloat16", lora={"targetModules": modules, "rank": 16})
    folder = base(tmp_path, family)
    found = measured(config, folder, torch.autocast("cpu", torch.bfloat16))
    assert estimated(config.spec, folder, "bfloat16") == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("family", sorted(shape.FAMILIES))
def test_the_formula_counts_every_weight(tmp_path: Path, family: str) -> None:
    folder = base(tmp_path, family)
    by_headers = shape.read(folder)
    by_formula = shape.read(folder / "config.json")
    assert by_headers.counted == by_formula.parameters
    assert by_formula.counted is None
    model = build(run_config(lora={"rank": 16}), folder)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert by_formula.trained_weights(LoRASpec(rank=16)) == trained


@pytest.mark.parametrize("family", DISTINCT)
def test_dora_and_layers_trained_whole_are_counted(tmp_path: Path, family: str) -> None:
    norms = ["norm", "input_layernorm", *(["q_norm"] if family == "qwen3" else [])]
    lora = {"rank": 16, "variant": "DoRA", "modulesToSave": ["lm_head", "o_proj", *norms], "targetModules": ["v_proj"]}
    config = run_config(lora=lora)
    folder = base(tmp_path, family)
    trained = sum(p.numel() for p in build(config, folder).parameters() if p.requires_grad)
    assert shape.read(folder).trained_weights(config.spec.lora) == trained


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("modules", [[], ["q_proj", "v_proj"]])
def test_doras_activations_are_within_15_percent(tmp_path: Path, dtype: str, modules: list[str]) -> None:
    config = run_config(dtype, lora={"targetModules": modules, "rank": 16, "variant": "DoRA"})
    folder = base(tmp_path, "llama")
    precision = nullcontext() if dtype == "float32" else torch.autocast("cpu", torch.bfloat16)
    assert estimated(config.spec, folder, dtype) == pytest.approx(measured(config, folder, precision), rel=0.15)


def test_a_piece_of_logits_is_what_the_loss_takes() -> None:
    assert estimate.LOGITS == loss.LOGITS_ON_GPU
