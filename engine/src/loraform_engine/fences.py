"""Finds fenced blocks in Markdown text, by CommonMark's rule for fences. Pure, in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENING = re.compile(r"(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<marks>`{3,}(?=[^`]*$)|~{3,}).*")
"""A line that opens a fence, perhaps as the first line of a list item."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """A text, divided at its fences."""

    outside: str
    """The lines that are not in a fence."""
    blocks: tuple[str, ...]
    """The lines between each fence's first and last line, without the indentation of the first."""


def split_fences(text: str) -> Fenced:
    """Divide `text`, whose lines end with `\\n`, at its fences.

    A fence ends with a line of at least as many of the same marks, so there may be shorter fences inside. One that is
    never closed, or has nothing but white space inside, counts as text outside.
    """
    outside: list[str] = []
    blocks: list[str] = []
    opened, lines = None, []
    for line in text.split("\n"):
        if opened is None:
            opened, lines = _OPENING.fullmatch(line), [line]
            if opened is None:
                outside.append(line)
            continue
        lines.append(line)
        if _closes(line, opened["marks"]):
            block = "\n".join(_dedent(inner, len(opened["indent"])) for inner in lines[1:-1])
            if block.strip():
                blocks.append(block)
            else:
                outside += lines
            opened = None
    if opened is not None:
        outside += lines
    return Fenced("\n".join(outside), tuple(blocks))


def _closes(line: str, marks: str) -> bool:
    found = line.strip(" \t")
    return len(found) >= len(marks) and found == marks[0] * len(found)


def _dedent(line: str, most: int) -> str:
    indent = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, most) :]
