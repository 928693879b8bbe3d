"""Normal forms for comparing: of programs without comments and layout, of prompts without case and white space."""

from __future__ import annotations

import re
from hashlib import blake2b

from tree_sitter import Node, Parser, Query, QueryCursor

from loraform_verifier.hcl.tree import LANGUAGE

_MARKS = Query(LANGUAGE, "(comment) @comment (string_lit) @text (quoted_template) @text (heredoc_template) @text")
_CODE = re.compile(rb"[\w\x80-\xff]+|[^\s\w]")


def tree_of(program: str) -> Node:
    """Return the syntax tree of a program that parses without errors."""
    return Parser(LANGUAGE).parse(program.encode("utf-8")).root_node


def normal_form(source: bytes, root: Node) -> bytes:
    """Return a program's tokens joined by spaces, without comments; strings and heredocs stay as they are."""
    captures = QueryCursor(_MARKS).captures(root)
    marks = [(node.start_byte, node.end_byte, kind == "text") for kind, nodes in captures.items() for node in nodes]
    pieces: list[bytes] = []
    position = 0
    for start, end, is_text in sorted(marks, key=lambda mark: (mark[0], -mark[1])):
        if start < position:  # inside a string: an interpolation may contain strings
            continue
        pieces += _CODE.findall(source, position, start)
        if is_text:
            pieces.append(source[start:end])
        position = end
    return b" ".join([*pieces, *_CODE.findall(source, position)])


def normal_prompt(instruction: str, input_text: str = "") -> bytes:
    """Return a prompt in lower case with single spaces."""
    return " ".join(f"{instruction}\n{input_text}".split()).casefold().encode("utf-8")


def digest(text: bytes) -> int:
    """Return a 64-bit hash of a text."""
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
