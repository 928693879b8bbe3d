"""Values of literal expressions: strings, numbers, bools and null."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final

from tree_sitter import Node

from loraform_verifier.hcl.tree import children, text_of


class Special(Enum):
    """Marker for an expression that has no literal value."""

    UNKNOWN = "not a literal"


UNKNOWN: Final = Special.UNKNOWN
Scalar = str | Decimal | bool | None
Value = Scalar | Special

_ESCAPE = re.compile(r"""\\(?:([nrt"\\])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))|([$%])\4\{""")
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


def inner(node: Node) -> Node:
    """Return the innermost node, without parentheses and layers that have a single child."""
    while node.type in ("expression", "collection_value", "literal_value", "operation"):
        named = [child for child in node.named_children if child.type != "comment"]
        if len(named) != 1:
            return node
        node = named[0]
    return node


def literal(node: Node) -> Value:
    """Return the value of a literal expression; UNKNOWN if it must be evaluated."""
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
    """Return the value of a quoted string from its source text."""
    return _ESCAPE.sub(_unescaped, text)


def escape(value: str) -> str:
    """Return the source text of a string, without quotes."""
    text = (
        value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )
    return text.replace("${", "$${").replace("%{", "%%{")


def canonical(value: str) -> str:
    """Return the canonical spelling of a value, so that `1.0` equals `1`."""
    number = _number(value)
    return _plain(number) if isinstance(number, Decimal) and number.is_finite() else value


def as_string(value: Value) -> str | None:
    """Return a literal converted to a string as Terraform does; None for null and UNKNOWN."""
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
    """One `key = value` of an object constructor; the key is None if it must be evaluated."""

    key: str | None
    value: Node
    node: Node


def object_elements(node: Node) -> list[Element] | None:
    """Return the elements of an object constructor; None for any other expression."""
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
    # A bare word is a string key; in parentheses it is a reference.
    if text_of(node).startswith("("):
        return as_string(literal(node))
    word = inner(node)
    if word.type == "variable_expr":
        return text_of(word)
    return as_string(literal(node))
