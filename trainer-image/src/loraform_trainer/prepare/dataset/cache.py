"""Cache of prepared rows that runs share; the cache key is a digest of everything that decides the rows."""

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
KEYED_PACKAGES = (
    "loraform_api",
    "loraform_engine",
    "loraform_trainer.prepare",
    "loraform_trainer.runtime",
    "loraform_verifier",
)
"""Packages whose code and tables decide which rows are kept, how they are rewritten and how they are stored."""


@cache
def code_digest() -> str:
    """Return the digest of the code and tables that prepare rows, because another version may prepare other rows."""
    return folders_digest(Path(str(files(package))) for package in KEYED_PACKAGES)


def folders_digest(folders: Iterable[Path]) -> str:
    """Return the digest of all files in `folders` and their subfolders, except `__pycache__`."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{folder.name}/{path.relative_to(folder)}\0{content}\0".encode())
    return digest.hexdigest()


def cache_key(inputs: Mapping[str, Any]) -> str:
    """Return the cache key of `inputs`, which must be JSON-serialisable, and of the code."""
    text = json.dumps({**inputs, "code": code_digest()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RowCache:
    """A cache folder that several runs may use at once; an entry is complete or absent."""

    folder: Path

    def restore(self, key: str, targets: Mapping[str, Path]) -> bool:
        """Copy the files of entry `key` to `targets`, by name; return whether the entry exists and is undamaged."""
        entry = self.folder / key
        try:
            digests = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
            return all(_copy(entry / name, target) == digests[name] for name, target in targets.items())
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError) as error:
            log.warning("prepared rows %s in the cache cannot be used: %s", key, error)
            return False

    def store(self, key: str, files_by_name: Mapping[str, Path]) -> None:
        """Store files as entry `key`, replacing it; an OSError is only logged, as the run does not need the cache."""
        partial: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=self.folder, prefix=".partial-"))
            partial.chmod(0o755)
            digests = {name: _copy(path, partial / name) for name, path in files_by_name.items()}
            write_atomic(partial / MANIFEST, json.dumps(digests))
            if (self.folder / key).exists():  # written by another run meanwhile, or damaged
                shutil.rmtree(self.folder / key)
            partial.rename(self.folder / key)
            fsync_folder(self.folder)
        except OSError as error:
            log.warning("prepared rows cannot be stored in the cache: %s", error)
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)


def _copy(source: Path, target: Path) -> str:
    partial = target.with_name(f".{target.name}.copy")
    with source.open("rb") as stream:
        digest = copy_hashed(stream, partial)
    partial.chmod(READABLE)
    partial.replace(target)
    return digest
