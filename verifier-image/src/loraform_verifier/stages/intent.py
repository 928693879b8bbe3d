"""Literal intent: all that a prompt names must stand in the program's syntax tree.

Comments and text inside templates do not count, so an answer cannot pass by repeating the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tree_sitter import Node

from loraform_api.verification import Diagnostic, IntentSpec
from loraform_verifier.hcl.literals import Value, as_string, canonical, literal
from loraform_verifier.hcl.parse import Block

_OPAQUE = ("template_expr", "comment")


def missing(program: Iterable[Block], asked: IntentSpec) -> list[Diagnostic]:
    """Return what was asked and is not there; empty when all of it stands. `program` holds its top-level blocks."""
    top = list(program)
    blocks = list(_all(top))
    literals = [value for block in blocks for a in block.attributes for value in _literals(a.value)]
    types = {block.labels[0] for block in top if block.type == "resource" and len(block.labels) == 2}
    names = {label for block in blocks for label in block.labels}
    names |= {value for value in literals if isinstance(value, str)}
    values = {canonical(text) for value in literals if (text := as_string(value)) is not None}
    found = [_absent("ResourceTypeMissing", "resource type", t) for t in asked.types if t not in types]
    found += [_absent("NameMissing", "block label or string", n) for n in asked.names if n not in names]
    found += [_absent("ValueMissing", "argument value", v) for v in asked.values if canonical(v) not in values]
    return found


def _all(blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        yield from _all(block.blocks)


def _literals(expression: Node) -> Iterator[Value]:
    """Yield the literals in an argument's value, also those in lists, objects (not their keys) and calls."""
    stack = [expression]
    while stack:
        node = stack.pop()
        if node.type in ("literal_value", "unary_operation"):
            yield literal(node)
        elif node.type == "object_elem":
            stack.extend(filter(None, [node.child_by_field_name("val")]))
        elif node.type not in _OPAQUE:
            stack.extend(node.children)


def _absent(code: str, what: str, value: str) -> Diagnostic:
    return Diagnostic(code=code, message=f"The prompt asks for {value!r}; the program has no such {what}.")
