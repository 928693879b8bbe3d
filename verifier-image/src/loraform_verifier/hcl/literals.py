"""The value of an expression where it can be read off the syntax tree: strings, numbers, bools, null."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final

from tree_sitter import Node

from loraform_verifier.hcl.tree import children, text_of


class Special(Enum):
    """What an expression may be besides a scalar."""

    UNKNOWN = "not a literal"


UNKNOWN: Final = Special.UNKNOWN
Scalar = str | Decimal | bool | None
Value = Scalar | Special

_ESCAPE = re.compile(r"""\\(?:([nrt"\\])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))|([$%])\4\{""")
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


def inner(node: Node) -> Node:
    """Return what an expression wraps: parentheses and single-child layers removed."""
    while node.type in ("expression", "collection_value", "literal_value", "operation"):
        named = [child for child in node.named_children if child.type != "comment"]
        if len(named) != 1:
            return node
        node = named[0]
    return node


def literal(node: Node) -> Value:
    """Return the value of a literal expression; UNKNOWN for anything that must be evaluated."""
    node = inner(node)
    text = text_of(node)
    match node.type:
        case "string_lit":
            return unescape(text[1:-1])
        case "numeric_lit":
            return _number(text)
        case "bool_lit":
            return text == "true"
        case "null_lit":
            return None
        case "unary_operation" if text.startswith("-"):
            return _number(text.replace(" ", ""))
        case _:
            return UNKNOWN


def unescape(text: str) -> str:
    """Return a quoted string's value from its source text."""
    return _ESCAPE.sub(_unescaped, text)


def escape(value: str) -> str:
    """Return the source text of a string, without quotes."""
    text = (
        value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )
    return text.replace("${", "$${").replace("%{", "%%{")


def canonical(value: str) -> str:
    """Return one spelling for a value written as in Terraform: `1.0` and `1` are the same number."""
    number = _number(value)
    return _plain(number) if isinstance(number, Decimal) and number.is_finite() else value


def as_string(value: Value) -> str | None:
    """Return a literal as Terraform converts it to a string; None for null and for what is no literal."""
    match value:
        case bool():
            return "true" if value else "false"
        case Decimal():
            return _plain(value)
        case str():
            return value
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Element:
    """One `key = value` of an object constructor; the key is None where it must be evaluated."""

    key: str | None
    value: Node
    node: Node


def object_elements(node: Node) -> list[Element] | None:
    """Return the elements of an object constructor; None when the expression is something else."""
    node = inner(node)
    if node.type != "object":
        return None
    elements = []
    for element in children(node, "object_elem"):
        key, value = element.child_by_field_name("key"), element.child_by_field_name("val")
        if key is not None and value is not None:
            elements.append(Element(_key(key), value, element))
    return elements


_MAX_NUMBER = 60


def _plain(number: Decimal) -> str:
    short = number.normalize()
    return format(short, "f") if abs(short.adjusted()) <= _MAX_NUMBER else str(short)


def _number(text: str) -> Value:
    try:
        return Decimal(text) if len(text) <= _MAX_NUMBER else UNKNOWN
    except InvalidOperation:
        return UNKNOWN


def _unescaped(match: re.Match[str]) -> str:
    plain, short, long, sigil = match.groups()
    if plain:
        return _PLAIN[plain]
    if sigil:
        return f"{sigil}{{"
    code = int(short or long, 16)
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd"


def _key(node: Node) -> str | None:
    # A bare word is its own name, except in parentheses, where it is a reference.
    if text_of(node).startswith("("):
        return as_string(literal(node))
    word = inner(node)
    if word.type == "variable_expr":
        return text_of(word)
    return as_string(literal(node))
