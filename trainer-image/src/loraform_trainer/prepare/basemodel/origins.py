"""Remote places of a base model, seen alike: a list of files, and one file at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RemoteFile:
    name: str
    size: int
    version: str
    """What changes with the content: a digest, an ETag, or the commit where that fixes it."""
    sha256: str | None = None
    """What it must have, where the place says it."""


class Origin(Protocol):
    """A base model's remote place."""

    def files(self) -> Sequence[RemoteFile]:
        """Return the files at the top of the model, of any name."""
        ...

    def save(self, file: RemoteFile, target: Path) -> str:
        """Write one file to `target`, at most as many bytes as were announced; return its sha256."""
        ...
