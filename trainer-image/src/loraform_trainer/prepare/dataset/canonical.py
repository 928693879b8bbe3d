"""A program without what changes nothing: comments and white space. By the syntax tree, so that strings stay whole."""

from __future__ import annotations

import re
from hashlib import blake2b

from tree_sitter import Node, Parser, Query, QueryCursor

from loraform_verifier.hcl.tree import LANGUAGE

_MARKS = Query(LANGUAGE, "(comment) @comment (string_lit) @text (quoted_template) @text (heredoc_template) @text")
_CODE = re.compile(rb"[\w\x80-\xff]+|[^\s\w]")


def tree_of(program: str) -> Node:
    """Return the syntax tree of a program that is known to parse."""
    return Parser(LANGUAGE).parse(program.encode("utf-8")).root_node


def normal_form(source: bytes, root: Node) -> bytes:
    """Return a program's tokens joined by spaces; equal for programs that differ in layout and comments alone."""
    found = QueryCursor(_MARKS).captures(root)
    marks = [(node.start_byte, node.end_byte, kind == "text") for kind, nodes in found.items() for node in nodes]
    pieces: list[bytes] = []
    place = 0
    for start, end, is_text in sorted(marks, key=lambda mark: (mark[0], -mark[1])):
        if start < place:  # within a string: an interpolation has strings of its own
            continue
        pieces += _CODE.findall(source, place, start)
        if is_text:
            pieces.append(source[start:end])
        place = end
    return b" ".join([*pieces, *_CODE.findall(source, place)])


def normal_prompt(instruction: str, input_text: str = "") -> bytes:
    """Return a prompt in one spelling: white space and case aside."""
    return " ".join(f"{instruction}\n{input_text}".split()).casefold().encode("utf-8")


def digest(text: bytes) -> int:
    """Return 64 bits that stand for a text."""
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
