"""Dimensions and number of weights of a base model."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from loraform_api.training import LoRASpec
from loraform_trainer.runtime.errors import BaseModelInvalidError
from loraform_trainer.train.estimate import shape
from loraform_trainer.train.estimate.shape import ModelShape

from .base_models import LLAMA_8B, QWEN3_8B, QWEN_CODER_7B, QWEN_CODER_15B


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (LLAMA_8B, 8_030_261_248),
        (QWEN_CODER_7B, 7_615_616_512),
        (QWEN3_8B, 8_190_735_360),
        (QWEN_CODER_15B, 1_543_714_304),
    ],
)
def test_number_of_weights_equals_the_published_one(config: dict[str, Any], published: int) -> None:
    assert shape.of_config(config).parameters == published


def test_an_adapter_of_rank_16_on_8b_has_42_million_weights() -> None:
    assert shape.of_config(LLAMA_8B).trained_weights(LoRASpec(rank=16)) == 41_943_040
    assert shape.of_config(LLAMA_8B).trained_weights(
        LoRASpec(rank=16, target_modules=["q_proj", "v_proj"])
    ) == 32 * 16 * (8192 + 5120)


def header(folder: Path, name: str, tensors: dict[str, list[int]]) -> None:
    text = json.dumps({n: {"dtype": "BF16", "shape": s, "data_offsets": [0, 0]} for n, s in tensors.items()}).encode()
    (folder / name).write_bytes(struct.pack("<Q", len(text)) + text)


def test_weights_are_counted_over_all_headers_and_shared_ones_once(llama: Path) -> None:
    (llama / "config.json").write_text(json.dumps({**LLAMA_8B, "tie_word_embeddings": True}))
    header(llama, "model-1.safetensors", {"model.embed_tokens.weight": [10, 4], "lm_head.weight": [10, 4]})
    header(llama, "model-2.safetensors", {"model.norm.weight": [4]})
    assert shape.read(llama).parameters == 44
    assert shape.read(llama / "config.json").counted is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 4) + b"nope", struct.pack("<Q", 2) + b"[]"])
def test_an_invalid_safetensors_file_is_named(llama: Path, content: bytes) -> None:
    (llama / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelInvalidError, match=r"model\.safetensors of the base model is not a safetensors file"):
        shape.read(llama)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_config_without_sizes_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BaseModelInvalidError):
        shape.read(tmp_path)


def test_a_missing_size_is_named() -> None:
    with pytest.raises(BaseModelInvalidError, match="intermediate_size"):
        shape.of_config({name: value for name, value in LLAMA_8B.items() if name != "intermediate_size"})


def test_head_dim_defaults_to_hidden_size_by_heads() -> None:
    assert isinstance(shape.of_config(LLAMA_8B), ModelShape)
    assert shape.of_config(LLAMA_8B).head_dim == 128
    assert shape.of_config({**LLAMA_8B, "head_dim": 64}).head_dim == 64
