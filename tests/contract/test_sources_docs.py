"""The fields in `docs/sources.md` are valid for the models, and none is ignored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from loraform_api.dataset import TrainingSource
from loraform_api.finetunejob import BaseModelSpec, CacheSpec, OutputSpec
from loraform_api.names import ACCESS_FILES
from loraform_api.sources import SOURCE_KINDS, DataSource
from loraform_trainer.remote.source import SourceDownload

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sources.md").read_text()
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
MODELS: dict[str, TypeAdapter[Any]] = {
    "sources": TypeAdapter(list[TrainingSource]),
    "baseModel": TypeAdapter(BaseModelSpec),
    "cache": TypeAdapter(CacheSpec),
    "output": TypeAdapter(OutputSpec),
}


@pytest.mark.parametrize(("field", "given"), [pair for block in BLOCKS for pair in block.items()])
def test_a_documented_field_is_valid(field: str, given: Any) -> None:
    read = MODELS[field].validate_python(given)
    assert MODELS[field].dump_python(read, mode="json", by_alias=True, exclude_unset=True) == given


def test_every_kind_of_source_is_documented_once() -> None:
    shown = [kind for block in BLOCKS for source in block.get("sources", ()) for kind in SOURCE_KINDS if kind in source]
    assert sorted(shown) == sorted(SOURCE_KINDS)


def test_every_key_of_a_secret_is_documented() -> None:
    assert [key for key in ACCESS_FILES if f"`{key}`" not in PAGE] == []


def test_every_kind_of_source_is_mounted_or_downloaded() -> None:
    """A new kind without a method of SourceDownload is found here, not in the first run that uses it."""
    kinds = set(DataSource.model_fields) - {"name", "file_format"}
    mounted = {"config_map", "persistent_volume_claim"}
    assert [kind for kind in sorted(kinds - mounted) if not hasattr(SourceDownload, f"_{kind}")] == []
