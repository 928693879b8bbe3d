"""Prepared rows in a shared folder."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files as package_files
from pathlib import Path

import pytest

from loraform_trainer.prepare.dataset import cache
from loraform_trainer.prepare.dataset.cache import DECIDING, RowCache, folders_digest, key_of
from loraform_verifier.schema import catalogue


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    for name in ("train.arrow", "result.json"):
        (folder / name).write_text(name)
    return {name: folder / name for name in ("train.arrow", "result.json")}


@pytest.fixture
def kept(tmp_path: Path, files: dict[str, Path]) -> RowCache:
    made = RowCache(tmp_path / "cache" / "rows")
    made.keep("key", files)
    return made


def test_what_was_kept_comes_back(kept: RowCache, files: dict[str, Path]) -> None:
    for path in files.values():
        path.unlink()
    assert kept.take("key", files)
    assert files["train.arrow"].read_text() == "train.arrow"
    assert [p.name for p in kept.folder.iterdir()] == ["key"]


def test_another_key_is_not_there(kept: RowCache, files: dict[str, Path]) -> None:
    assert not kept.take("other", files)


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_a_broken_entry_is_not_taken_and_can_be_kept_anew(kept: RowCache, files: dict[str, Path], damage: str) -> None:
    entry = kept.folder / "key"
    if damage == "changed":
        (entry / "train.arrow").write_text("other")
    elif damage == "missing":
        (entry / "result.json").unlink()
    else:
        (entry / cache.MANIFEST).write_text("[")
    assert not kept.take("key", files)
    for name, path in files.items():
        path.write_text(name)
    kept.keep("key", files)
    assert kept.take("key", files)


def test_a_cache_that_cannot_be_written_costs_no_run(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "cache").write_text("a file")
    RowCache(tmp_path / "cache" / "rows").keep("key", files)
    assert not RowCache(tmp_path / "cache" / "rows").take("key", files)


def test_the_key_is_that_of_all_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    first = key_of({"seed": 1, "policy": None})
    assert first == key_of({"policy": None, "seed": 1})
    assert first != key_of({"seed": 2, "policy": None})
    monkeypatch.setattr(cache, "code_digest", lambda: "another version")
    assert first != key_of({"seed": 1, "policy": None})


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
        "import json, sys; from loraform_trainer.prepare.dataset import load; "
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('loraform_') and m.__file__]))"
    )
    imported = json.loads(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)
    hashed = [Path(str(package_files(package))) for package in DECIDING]
    outside = [p for p in map(Path, imported) if not any(p.is_relative_to(folder) for folder in hashed)]
    assert [p.name for p in outside] == ["__init__.py"], "the package loraform_trainer itself, a docstring"
    assert any(catalogue.DATA.is_relative_to(folder) for folder in hashed)
