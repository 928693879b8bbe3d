"""Prepared rows that runs share: found by a digest of all that decides them, whole or absent."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from loraform_trainer.runtime.files import READABLE, copy_hashed, fsync_folder, write_atomic

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
DECIDING = (
    "loraform_api",
    "loraform_engine",
    "loraform_trainer.prepare",
    "loraform_trainer.runtime",
    "loraform_verifier",
)
"""Packages whose code and tables decide which rows are kept, how they are rewritten, and how they are written."""


@cache
def code_digest() -> str:
    """Return the digest of the code and tables that prepare rows: another version may prepare other rows."""
    return folders_digest(Path(str(files(package))) for package in DECIDING)


def folders_digest(folders: Iterable[Path]) -> str:
    """Return the digest of all files in `folders` and below, but for what Python compiles."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{folder.name}/{path.relative_to(folder)}\0{content}\0".encode())
    return digest.hexdigest()


def key_of(what: Mapping[str, Any]) -> str:
    """Return the digest of everything that decides the rows; `what` is plain data."""
    text = json.dumps({**what, "code": code_digest()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RowCache:
    """A folder that may be shared by runs, also at the same time."""

    folder: Path

    def take(self, key: str, targets: Mapping[str, Path]) -> bool:
        """Copy what is kept under `key` to `targets` (by name); say whether it was there, and whole."""
        entry = self.folder / key
        try:
            digests = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
            return all(_copied(entry / name, target) == digests[name] for name, target in targets.items())
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError) as error:
            log.warning("prepared rows %s in the cache cannot be used: %s", key, error)
            return False

    def keep(self, key: str, files_by_name: Mapping[str, Path]) -> None:
        """Keep files under `key`. A cache that cannot be written costs time later, and no run now."""
        made: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=self.folder, prefix=".partial-"))
            made.chmod(0o755)
            digests = {name: _copied(path, made / name) for name, path in files_by_name.items()}
            write_atomic(made / MANIFEST, json.dumps(digests))
            if (self.folder / key).exists():  # by another run at the same time, or broken
                shutil.rmtree(self.folder / key)
            made.rename(self.folder / key)
            fsync_folder(self.folder)
        except OSError as error:
            log.warning("prepared rows cannot be kept in the cache: %s", error)
            if made is not None:
                shutil.rmtree(made, ignore_errors=True)


def _copied(source: Path, target: Path) -> str:
    partial = target.with_name(f".{target.name}.copy")
    with source.open("rb") as stream:
        digest = copy_hashed(stream, partial)
    partial.chmod(READABLE)
    partial.replace(target)
    return digest
