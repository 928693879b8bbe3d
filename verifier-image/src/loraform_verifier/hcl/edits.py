"""Text edits at byte offsets of a syntax tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tree_sitter import Node


class Edit(NamedTuple):
    """Replacement of the bytes from `start` to `end`."""

    start: int
    end: int
    text: str


def apply_edits(source: bytes, edits: Iterable[Edit]) -> bytes:
    """Return `source` with the edits applied. Of two that overlap, the outer one wins."""
    pieces, at = [], 0
    for start, end, text in sorted(edits, key=lambda edit: (edit.start, -edit.end)):
        if start >= at:
            pieces += [source[at:start], text.encode()]
            at = end
    return b"".join([*pieces, source[at:]])


def removal(source: bytes, start: int, end: int) -> Edit:
    """Return the deletion of the bytes from `start` to `end`, with their lines if nothing else stands on them."""
    line, stop = source.rfind(b"\n", 0, start) + 1, source.find(b"\n", end) + 1 or len(source)
    if source[line:start].strip() or source[end:stop].strip():
        return Edit(start, end + len(source[end:stop]) - len(source[end:stop].lstrip(b" ")), "")
    return Edit(line, stop, "")


def line_start(source: bytes, node: Node) -> int:
    """Return the offset of the first byte of the line on which a node starts."""
    return source.rfind(b"\n", 0, node.start_byte) + 1


def indent_of(source: bytes, node: Node) -> str:
    """Return the white space at the start of a node's line."""
    line = source[line_start(source, node) : node.start_byte]
    return line[: len(line) - len(line.lstrip())].decode("utf-8", errors="ignore").replace("\ufeff", "")
