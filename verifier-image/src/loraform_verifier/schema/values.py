"""Checks whether a literal value can be converted to an argument's type.

Terraform converts freely (`"5"` is a number, `5` a string), so only values that certainly fail are reported.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from tree_sitter import Node

from loraform_verifier.hcl.literals import UNKNOWN, inner, literal, object_elements
from loraform_verifier.hcl.tree import children

BOOLS = ("true", "false", "1", "0")
_NO_NUMBER = re.compile(r"^(?!.*inf)\D*$|^\d+ *[a-df-wyzA-DF-WYZ%][A-Za-z]*$", re.IGNORECASE | re.DOTALL)
_SCALARS = ("string", "number", "bool")


def mismatch(kind: Any, value: Node) -> str | None:
    """Return what is required instead, for example `number required`; None if the value fits or may fit."""
    node = inner(value)
    if node.type in ("tuple", "object"):
        return _in_collection(kind, node)
    scalar = literal(node)
    if scalar is UNKNOWN or scalar is None:
        return None
    if kind in _SCALARS:
        return None if _converts(scalar, kind) else f"{kind} required"
    return f"{_name(kind)} required" if _name(kind) else None


def is_set(value: Node) -> bool:
    """Return whether a value is certainly neither null nor empty."""
    node = inner(value)
    match node.type:
        case "tuple":
            return bool([child for child in node.named_children if child.type == "expression"])
        case "object":
            return bool(object_elements(node))
        case "template_expr":  # `"${x}"` alone is x, which may be null
            return any(children(part, "template_literal") for part in node.named_children)
        case _:
            return literal(node) not in (UNKNOWN, None)


def elements(value: Node) -> list[Node] | None:
    """Return the elements of a list constructor; None for anything else."""
    node = inner(value)
    return [child for child in node.named_children if child.type == "expression"] if node.type == "tuple" else None


def _converts(scalar: str | Decimal | bool, kind: str) -> bool:
    match kind, scalar:
        case "number", str():
            return not _NO_NUMBER.match(scalar)
        case "number", bool():
            return False
        case "bool", str():
            return scalar in BOOLS
        case "bool", Decimal():
            return False
        case _:
            return True


def _in_collection(kind: Any, node: Node) -> str | None:
    match kind, node.type:
        case (("string" | "number" | "bool"), _):
            return f"{kind} required"
        case [("list" | "set"), element], "tuple":
            return _first(element, elements(node) or [])
        case ["map", element_type], "object":
            return _first(element_type, [element.value for element in object_elements(node) or []])
        case [("list" | "set" | "map") as expected, _], _:
            return f"{expected} required"
        case ["object", dict(members), *optional], "object":
            return _members(members, optional[0] if optional else [], node)
        case _:
            return None


def _first(kind: Any, values: list[Node]) -> str | None:
    return next((reason for value in values if (reason := mismatch(kind, value))), None)


def _members(members: dict[str, Any], optional: list[str], node: Node) -> str | None:
    """Check an object constructor against an object type; unlike a block, it must have every attribute."""
    values = {element.key: element.value for element in object_elements(node) or []}
    if None in values:
        return None
    missing = sorted(members.keys() - values.keys() - set(optional))
    if missing:
        return f"attributes {', '.join(missing)} are required"
    reasons = (mismatch(kind, values[name]) for name, kind in members.items() if name in values)
    return next(filter(None, reasons), None)


def _name(kind: Any) -> str | None:
    """Return the name of a collection type, which no string, number or bool converts to."""
    return kind[0] if isinstance(kind, list) and kind[0] in ("list", "set", "map", "object") else None
