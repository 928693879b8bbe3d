"""Downloaded base models on the claim that runs share: whole or absent, and checked again each time.

An entry is a folder `bases/<key>` with an index of its files' digests. It is made under a name of its own and renamed,
so runs that fetch the same model at once do not meet: the first to finish wins, and the others take its entry.
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
"""Age of a partial folder that no pod can still be writing."""


@dataclass(frozen=True, slots=True)
class Entry:
    folder: Path
    digests: Mapping[str, str]
    """sha256 by file name."""


def key(storage_uri: str, files: Sequence[RemoteFile]) -> str:
    """Return the name of a model's entry: it changes when a file of it does."""
    lines = [storage_uri, *(f"{f.name} {f.size} {f.version}" for f in sorted(files, key=lambda f: f.name))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def find(root: Path, name: str, files: Sequence[RemoteFile]) -> Entry | None:
    """Return a finished entry of these files; they are to be held against its digests when they are read."""
    try:
        digests = json.loads((root / name / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(digests, dict) or digests.keys() != {file.name for file in files}:
        return None
    told = {file.name: file.sha256 for file in files if file.sha256 is not None}
    return Entry(root / name, digests) if told.items() <= digests.items() else None


def add(root: Path, name: str, files: Sequence[RemoteFile], fill: Callable[[Path], Mapping[str, str]]) -> Entry:
    """Make an entry: `fill` writes the files into the folder it is given and returns their digests."""
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    partial = Path(tempfile.mkdtemp(dir=root, prefix=f"{PARTIAL}{name[:16]}-"))
    try:
        digests = dict(fill(partial))
        write_atomic(partial / INDEX, json.dumps(digests, indent=2))
        partial.chmod(0o755)
        try:
            partial.rename(root / name)
        except OSError:  # another run was first
            found = find(root, name, files)
            if found is None:
                raise
            return found
        fsync_folder(root)
        return Entry(root / name, digests)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def discard(root: Path, name: str) -> None:
    """Remove an entry that is not what its index says."""
    log.warning("the cached base model %s is damaged; it is fetched again", root / name)
    doomed = Path(tempfile.mkdtemp(dir=root, prefix=PARTIAL))
    with contextlib.suppress(FileNotFoundError):  # another run saw it too
        (root / name).rename(doomed / name)  # at once, so that no other run finds half of it
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what killed pods left."""
    for folder in root.glob(f"{PARTIAL}*"):
        try:
            age = time.time() - max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
        except OSError:  # another run removed it
            continue
        if age > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
