"""Changes a program's text where its syntax tree says, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Edit(NamedTuple):
    """Replace the bytes from `start` to `end`."""

    start: int
    end: int
    text: str


def edited(source: bytes, edits: Iterable[Edit]) -> bytes:
    """Return a text with pieces replaced; of two that overlap, the outer."""
    pieces, at = [], 0
    for start, end, text in sorted(edits, key=lambda edit: (edit.start, -edit.end)):
        if start >= at:
            pieces += [source[at:start], text.encode()]
            at = end
    return b"".join([*pieces, source[at:]])
