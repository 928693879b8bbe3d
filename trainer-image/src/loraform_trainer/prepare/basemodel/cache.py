"""Cache of downloaded base models on a claim that runs share.

An entry is a folder `bases/<key>` with an index of its files' digests. It is filled under a temporary name and then
renamed, so that it is complete or absent. When several runs download a model at once, the first one to finish creates
the entry and the others use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loraform_trainer.prepare.basemodel.origins import RemoteFile
from loraform_trainer.runtime.files import fsync_folder, write_atomic

log = logging.getLogger(__name__)

INDEX = "index.json"
PARTIAL = ".partial-"
ABANDONED_SECONDS = 24 * 3600.0
"""Age from which a partial folder counts as left by a killed pod."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A complete cached base model."""

    folder: Path
    digests: Mapping[str, str]
    """sha256 by file name."""


def key(storage_uri: str, files: Sequence[RemoteFile]) -> str:
    """Return the cache key of a model, from its URI and the names, sizes and versions of its files."""
    lines = [storage_uri, *(f"{f.name} {f.size} {f.version}" for f in sorted(files, key=lambda f: f.name))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def find(root: Path, name: str, files: Sequence[RemoteFile]) -> CacheEntry | None:
    """Return the entry if its index lists these files; callers must check the digests of what they copy."""
    try:
        digests = json.loads((root / name / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(digests, dict) or digests.keys() != {file.name for file in files}:
        return None
    expected = {file.name: file.sha256 for file in files if file.sha256 is not None}
    return CacheEntry(root / name, digests) if expected.items() <= digests.items() else None


def add(root: Path, name: str, files: Sequence[RemoteFile], fill: Callable[[Path], Mapping[str, str]]) -> CacheEntry:
    """Create and return an entry; `fill` writes the files into the given folder and returns their sha256 by name.

    Returns the entry of another run if that was faster. Raises OSError and the errors of `fill`.
    """
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    partial = Path(tempfile.mkdtemp(dir=root, prefix=f"{PARTIAL}{name[:16]}-"))
    try:
        digests = dict(fill(partial))
        write_atomic(partial / INDEX, json.dumps(digests, indent=2))
        partial.chmod(0o755)
        try:
            partial.rename(root / name)
        except OSError:  # another run was first
            existing = find(root, name, files)
            if existing is None:
                raise
            return existing
        fsync_folder(root)
        return CacheEntry(root / name, digests)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def discard(root: Path, name: str) -> None:
    """Remove a damaged entry."""
    log.warning("the cached base model %s is damaged; downloading it again", root / name)
    trash = Path(tempfile.mkdtemp(dir=root, prefix=PARTIAL))
    with contextlib.suppress(FileNotFoundError):  # another run removed it
        (root / name).rename(trash / name)  # in one step, so that no other run sees a part of it
    shutil.rmtree(trash, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    """Remove partial folders that killed pods left."""
    for folder in root.glob(f"{PARTIAL}*"):
        try:
            age = time.time() - max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
        except OSError:  # another run removed it
            continue
        if age > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
