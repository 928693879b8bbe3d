"""The fields in `docs/sources.md` are valid for the models, and none is ignored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter

from loraform_api.dataset import TrainingSource
from loraform_api.finetunejob import BaseModelSpec, CacheSpec, OutputSpec
from loraform_api.names import ACCESS_FILES
from loraform_api.sources import SOURCE_KINDS, DataSource
from loraform_trainer.remote.source import SourceDownload

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sources.md").read_text()
SPEC_PAGE = (ROOT / "docs" / "spec" / "v1alpha1" / "finetunejob.md").read_text()
EXAMPLES = "".join(path.read_text() for path in sorted((ROOT / "examples").rglob("*.yaml")))
REMOTE = [kind for kind in SOURCE_KINDS if kind not in ("configMap", "persistentVolumeClaim")]
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


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_every_kind_of_source_is_in_the_tables_and_an_example(kind: str) -> None:
    assert re.search(rf"^\| .*`{kind}`.* \|", PAGE, re.MULTILINE), "docs/sources.md, table of what pins a place"
    assert f"`{kind}`" in SPEC_PAGE
    assert f" {kind}:" in EXAMPLES


def test_every_key_of_a_secret_is_documented() -> None:
    assert [key for key in ACCESS_FILES if f"`{key}`" not in PAGE] == []


def test_every_kind_of_source_is_mounted_or_downloaded() -> None:
    """A new kind without a method of SourceDownload is found here, not in the first run that uses it."""
    kinds = set(DataSource.model_fields) - {"name", "file_format"}
    mounted = {"config_map", "persistent_volume_claim"}
    assert [kind for kind in sorted(kinds - mounted) if not hasattr(SourceDownload, f"_{kind}")] == []


@pytest.mark.parametrize("kind", REMOTE)
def test_every_remote_kind_reaches_its_method(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method without its `case` in `fetch` would end as "exactly one must be set"."""
    [name] = [name for name, field in DataSource.model_fields.items() if field.alias == kind]
    model = next(m for m in get_args(DataSource.model_fields[name].annotation) if m is not type(None))
    monkeypatch.setattr(SourceDownload, f"_{name}", lambda _self, source, *_: Path(type(source).__name__))
    download = SourceDownload("source", Path("mount"), Path("stem"), 0)
    source = DataSource.model_construct(**{"name": "rows", name: model.model_construct()})
    assert download.fetch(source, None) == Path(model.__name__)
