"""The interface to remote base models: list the files, download one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a remote base model; `size` is in bytes."""

    name: str
    size: int
    version: str
    """Changes with the content: a digest, an ETag or a commit."""
    sha256: str | None = None
    """Expected digest, if the server names one."""


class Origin(Protocol):
    """A remote base model."""

    def files(self) -> Sequence[RemoteFile]:
        """Return all files of the model's top folder; raises StageError."""
        ...

    def save(self, file: RemoteFile, target: Path) -> str:
        """Download one file of at most `file.size` bytes to `target`; return its sha256. Raises StageError."""
        ...
