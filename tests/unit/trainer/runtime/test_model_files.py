"""Selection and checks of a base model's files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from loraform_trainer.runtime.errors import BaseModelInvalidError
from loraform_trainer.runtime.model_files import MAX_HEADER_BYTES, check_weights, select_files, weight_modules

URI = "hf://acme/tiny"


def weights(folder: Path, header: object) -> Path:
    encoded = json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded)
    return path


def test_only_allowed_files_are_selected_and_weights_are_last() -> None:
    names = ["a.safetensors", "config.json", "tokenizer.json", "run.py", "x.bin", "a/config.json", "../config.json"]
    assert select_files(names, URI) == ["config.json", "tokenizer.json", "a.safetensors"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tokenizer.json", "a.safetensors"], "has no config.json"),
        (["config.json", "tokenizer.json"], r"has no \*.safetensors file$"),
        (["config.json", "tokenizer.json", "a.pt"], r"found a.pt: convert it to safetensors, pickles are refused"),
    ],
)
def test_a_model_without_required_files_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(BaseModelInvalidError, match=message):
        select_files(names, URI)


@pytest.mark.parametrize("content", [b"", b"1234567", struct.pack("<Q", 5) + b"[1,2]", struct.pack("<Q", 2**40)])
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelInvalidError, match="is not a safetensors file"):
        check_weights(tmp_path, ["config.json", "model.safetensors"])


def test_a_header_above_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", MAX_HEADER_BYTES + 1))
    with pytest.raises(BaseModelInvalidError, match=f"its header has {MAX_HEADER_BYTES + 1} bytes"):
        check_weights(tmp_path, ["model.safetensors"])


def test_weight_modules_are_read_from_the_header(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "model.layers.0.q_proj.weight": {"shape": [2, 2]},
        "model.layers.0.q_proj.bias": {"shape": [2]},
        "model.norm.weight": {"shape": [2]},
        "weight": {"shape": [2, 2]},
    }
    assert list(weight_modules(weights(tmp_path, header))) == [("q_proj", 2), ("norm", 1)]
