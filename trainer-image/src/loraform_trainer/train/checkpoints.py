"""Sealed checkpoints: a manifest with each file's sha256, written last, proves that they are complete and unchanged."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from loraform_trainer.runtime.files import fsync_file, fsync_folder, sha256_file, write_atomic

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
PREFIX = "checkpoint-"
STATE = "trainer_state.json"
"""transformers' record of steps and history."""


def seal(folder: Path) -> None:
    """Flush a checkpoint's files to disk, then write its manifest."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)
    for file in files:
        fsync_file(file)
    fsync_folder(folder)
    write_atomic(folder / MANIFEST, json.dumps({file.name: sha256_file(file) for file in files}))


def newest(folder: Path) -> Path | None:
    """Return the newest intact checkpoint; newer ones, which are incomplete or changed, are removed."""
    for checkpoint in sorted(folder.glob(f"{PREFIX}*"), key=_step, reverse=True):
        if _intact(checkpoint):
            return checkpoint
        log.warning("removing %s: it is incomplete or was changed", checkpoint.name)
        shutil.rmtree(checkpoint)
    return None


def sealed(folder: Path) -> list[Path]:
    """Return the intact checkpoints, newest first."""
    return [c for c in sorted(folder.glob(f"{PREFIX}*"), key=_step, reverse=True) if _intact(c)]


def step_of(checkpoint: Path | None) -> int:
    """Return the training step of a checkpoint; 0 for none."""
    return 0 if checkpoint is None else _step(checkpoint)


def _step(checkpoint: Path) -> int:
    suffix = checkpoint.name.removeprefix(PREFIX)
    return int(suffix) if suffix.isdecimal() else -1


def _intact(checkpoint: Path) -> bool:
    try:
        manifest: dict[str, str] = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        present = {p.name for p in checkpoint.iterdir()} - {MANIFEST}
        # no additional file either: transformers' loader prefers a pickle of another name to the safetensors file
        return present == set(manifest) and all(sha256_file(checkpoint / n) == d for n, d in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False
