"""Prepared rows that runs share: found by a digest of all that decides them, whole or absent."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from loraform_trainer.files import READABLE, copy_hashed, fsync_folder, write_atomic

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
CODE = ("loraform_trainer.dataset", "loraform_verifier", "loraform_verifier.schema", "loraform_api")
BESIDE = ("prepare.py", "fresh.py", "rows.py", "tokens.py", "tokenised.py")
"""With the packages of `CODE`, what decides which rows are kept, and how they are taught and written."""


@cache
def code_digest() -> str:
    """Return the digest of the code that prepares rows: another version may prepare other ones."""
    above = Path(str(files("loraform_trainer")))
    paths = [above / name for name in BESIDE]
    paths += [path for package in CODE for path in sorted(Path(str(files(package))).glob("*.py"))]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.parent.name}/{path.name}\0".encode() + path.read_bytes())
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
