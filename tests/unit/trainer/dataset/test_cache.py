"""Prepared rows in a shared folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraform_trainer.dataset import cache
from loraform_trainer.dataset.cache import RowCache, key_of


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
