"""The cache of prepared rows."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files as package_files
from pathlib import Path

import pytest

from loraform_trainer.prepare.dataset import cache
from loraform_trainer.prepare.dataset.cache import KEYED_PACKAGES, RowCache, cache_key, folders_digest
from loraform_verifier.schema import catalogue


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    for name in ("train.arrow", "result.json"):
        (folder / name).write_text(name)
    return {name: folder / name for name in ("train.arrow", "result.json")}


@pytest.fixture
def filled(tmp_path: Path, files: dict[str, Path]) -> RowCache:
    row_cache = RowCache(tmp_path / "cache" / "rows")
    row_cache.store("key", files)
    return row_cache


def test_stored_files_are_restored(filled: RowCache, files: dict[str, Path]) -> None:
    for path in files.values():
        path.unlink()
    assert filled.restore("key", files)
    assert files["train.arrow"].read_text() == "train.arrow"
    assert [p.name for p in filled.folder.iterdir()] == ["key"]


def test_another_key_restores_nothing(filled: RowCache, files: dict[str, Path]) -> None:
    assert not filled.restore("other", files)


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_a_damaged_entry_is_not_restored_and_can_be_replaced(
    filled: RowCache, files: dict[str, Path], damage: str
) -> None:
    entry = filled.folder / "key"
    if damage == "changed":
        (entry / "train.arrow").write_text("other")
    elif damage == "missing":
        (entry / "result.json").unlink()
    else:
        (entry / cache.MANIFEST).write_text("[")
    assert not filled.restore("key", files)
    for name, path in files.items():
        path.write_text(name)
    filled.store("key", files)
    assert filled.restore("key", files)


def test_a_cache_that_cannot_be_written_raises_nothing(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "cache").write_text("a file")
    RowCache(tmp_path / "cache" / "rows").store("key", files)
    assert not RowCache(tmp_path / "cache" / "rows").restore("key", files)


def test_key_depends_on_all_inputs_and_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    first = cache_key({"seed": 1, "policy": None})
    assert first == cache_key({"policy": None, "seed": 1})
    assert first != cache_key({"seed": 2, "policy": None})
    monkeypatch.setattr(cache, "code_digest", lambda: "another version")
    assert first != cache_key({"seed": 1, "policy": None})


def test_a_changed_file_at_any_depth_changes_the_digest(tmp_path: Path) -> None:
    table = tmp_path / "schema" / "data" / "table.jsonl.xz"
    table.parent.mkdir(parents=True)
    (tmp_path / "module.py").write_text("1")
    table.write_text("tags")
    first = folders_digest([tmp_path])
    (tmp_path / "schema" / "__pycache__").mkdir()
    (tmp_path / "schema" / "__pycache__" / "module.pyc").write_text("compiled")
    assert folders_digest([tmp_path]) == first
    table.write_text("no tags")
    assert folders_digest([tmp_path]) != first
    table.write_text("tags")
    table.rename(tmp_path / "table.jsonl.xz")
    assert folders_digest([tmp_path]) != first


def test_the_key_covers_every_module_and_table_that_prepares_rows() -> None:
    script = (
        "import json, sys; from loraform_trainer.prepare.dataset import from_sources; "
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('loraform_') and m.__file__]))"
    )
    imported = json.loads(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)
    hashed = [Path(str(package_files(package))) for package in KEYED_PACKAGES]
    outside = [p for p in map(Path, imported) if not any(p.is_relative_to(folder) for folder in hashed)]
    assert [p.name for p in outside] == ["__init__.py"], "the package loraform_trainer itself, a docstring"
    assert any(catalogue.DATA.is_relative_to(folder) for folder in hashed)
