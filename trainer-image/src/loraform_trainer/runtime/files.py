"""File helpers: digests, atomic writes, paths that stay inside a folder, JSON lines."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20
"""Bytes read at a time."""
READABLE = 0o644
"""Mode of files that other containers and users read."""


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal; raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digest(sha256_by_name: Mapping[str, str]) -> str:
    """Return one sha256 (hexadecimal) for a set of files, from the sha256 of each by its name."""
    lines = "".join(f"{name}:{digest}\n" for name, digest in sorted(sha256_by_name.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def copy_hashed(source: BinaryIO, target: Path) -> str:
    """Copy a stream into `target`, creating its folder, and flush it to disk; return its sha256. Raises OSError."""
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically, also in case of a crash; creates the folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fchmod(out.fileno(), READABLE)
            os.fsync(out.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an absent temporary folder to create and fill, which then replaces `folder` atomically.

    It must hold files only. After an error `folder` is unchanged.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
    yield partial
    for file in partial.iterdir():
        fsync_file(file)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Flush the directory entries of `folder` to disk; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_file(path: Path) -> None:
    """Flush a file's content to disk; raises OSError."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def resolve_inside(root: Path, relative: str) -> Path | None:
    """Return the resolved `root/relative`, or None when it is outside `root` (by `..` or a symlink)."""
    path = (root / relative).resolve()
    return path if path.is_relative_to(root.resolve()) else None


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows` as JSON lines, atomically; raises OSError."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of `write_jsonl`; raises OSError, and ValueError for a damaged line."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)
