"""Finds fenced blocks in Markdown text, by CommonMark's rule for fences. Pure, in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPENING = re.compile(
    r"(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<marks>`{3,}(?=[^`]*$)|~{3,})"
    r"[ \t]*(?P<language>[\w.+-]*).*"
)
"""A line that opens a fence, perhaps as the first line of a list item."""
_HEREDOC = re.compile(r"<<-?(?P<tag>[^\W\d][\w-]*)\s*$")


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block."""

    language: str
    """The first word of the opening line, in lower case; empty if there is none."""
    text: str
    """The lines between the first and the last, without the indentation of the first."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """A text, divided at its fences."""

    outside: str
    """The lines that are not in a fence."""
    blocks: tuple[Fence, ...]
    unclosed: Fence | None = None
    """A fence that the text opens and never closes; its lines are also in `outside`."""


def split_fences(text: str) -> Fenced:
    """Divide `text`, whose lines end with `\\n`, at its fences.

    A fence ends with a line of at least as many of the same marks, so there may be shorter fences inside. One that is
    never closed, or has nothing but white space inside, counts as text outside. Lines of a Terraform heredoc neither
    open nor close one.
    """
    outside: list[str] = []
    blocks: list[Fence] = []
    opened, lines = None, []
    for line, in_heredoc in heredoc_lines(text):
        if opened is None:
            opened, lines = None if in_heredoc else _OPENING.fullmatch(line), [line]
            if opened is None:
                outside.append(line)
            continue
        lines.append(line)
        if not in_heredoc and _closes(line, opened["marks"]):
            block = _fence(opened, lines[1:-1])
            if block.text.strip():
                blocks.append(block)
            else:
                outside += lines
            opened = None
    if opened is None:
        return Fenced("\n".join(outside), tuple(blocks))
    return Fenced("\n".join(outside + lines), tuple(blocks), _fence(opened, lines[1:]))


def heredoc_lines(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line of `text`, and whether it stands inside a Terraform heredoc."""
    lines = text.split("\n")
    last = {line.strip(): number for number, line in enumerate(lines)}
    tag = ""
    for number, line in enumerate(lines):
        yield line, bool(tag)
        if tag:
            tag = "" if line.strip() == tag else tag
        elif (opening := _HEREDOC.search(line)) and last.get(opening["tag"], 0) > number:
            tag = opening["tag"]


def _fence(opened: re.Match[str], lines: list[str]) -> Fence:
    text = "\n".join(_dedent(line, len(opened["indent"])) for line in lines)
    return Fence(opened["language"].lower(), text)


def _closes(line: str, marks: str) -> bool:
    written = line.strip()
    return len(written) >= len(marks) and written == marks[0] * len(written)


def _dedent(line: str, most: int) -> str:
    indent = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, most) :]
