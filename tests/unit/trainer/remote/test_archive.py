"""Extracting one file from an untrusted archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from loraform_trainer.remote import archive
from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.runtime.errors import DatasetInvalidError

ACCESS = RemoteAccess("source 'a', oci", DatasetInvalidError)


def packed(folder: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """Write an archive of (name, type, content)."""
    path = folder / "packed.tar.gz"
    with tarfile.open(path, mode="w:gz") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "rows"
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["sets/rows", "./sets/rows", "sets/./rows"])
def test_the_file_is_found_by_its_path(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path, ("other", tarfile.REGTYPE, b"no"), (name, tarfile.REGTYPE, b"rows"))
    assert archive.extract(path, "sets/rows", tmp_path / "out", ACCESS)
    assert (tmp_path / "out").read_bytes() == b"rows"


@pytest.mark.parametrize("name", ["/rows", "../rows", "rows2"])
def test_other_paths_do_not_match(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path, (name, tarfile.REGTYPE, b"rows"))
    assert not archive.extract(path, "rows", tmp_path / "out", ACCESS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_not_a_regular_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = packed(tmp_path, ("rows", kind, b""))
    with pytest.raises(DatasetInvalidError, match="rows in the archive is not a regular file"):
        archive.extract(path, "rows", tmp_path / "out", ACCESS)


def test_an_archive_bomb_is_refused_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1 << 20)
    path = packed(tmp_path, ("zeros", tarfile.REGTYPE, bytes(4 << 20)), ("rows", tarfile.REGTYPE, b"rows"))
    assert path.stat().st_size < 10_000
    with pytest.raises(DatasetInvalidError, match="larger than 1048576 bytes unpacked"):
        archive.extract(path, "rows", tmp_path / "out", ACCESS)


def test_a_member_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 10)
    path = packed(tmp_path, ("rows", tarfile.REGTYPE, bytes(11)))
    with pytest.raises(DatasetInvalidError, match="larger than 10 bytes"):
        archive.extract(path, "rows", tmp_path / "out", ACCESS)
