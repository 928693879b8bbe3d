"""Literal intent: every type, name and value that a prompt asks for must occur in the program's syntax tree.

Comments and text inside templates do not count, so an answer cannot pass by repeating the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tree_sitter import Node

from loraform_api.verification import Diagnostic, IntentSpec
from loraform_verifier.hcl.literals import Value, as_string, canonical, literal
from loraform_verifier.hcl.parse import HclBlock

_OPAQUE = ("template_expr", "comment")


def missing_requirements(program: Iterable[HclBlock], asked: IntentSpec) -> list[Diagnostic]:
    """Return a diagnostic for each requirement that is not met. `program` holds the top-level blocks."""
    top = list(program)
    blocks = list(_all_blocks(top))
    literals = [value for block in blocks for a in block.attributes for value in _literals(a.value)]
    types = {block.labels[0] for block in top if block.type == "resource" and len(block.labels) == 2}
    names = {label for block in blocks for label in block.labels}
    names |= {value for value in literals if isinstance(value, str)}
    values = {canonical(text) for value in literals if (text := as_string(value)) is not None}
    missing = [_absent("ResourceTypeMissing", "resource type", t) for t in asked.types if t not in types]
    missing += [_absent("NameMissing", "block label or string", n) for n in asked.names if n not in names]
    missing += [_absent("ValueMissing", "argument value", v) for v in asked.values if canonical(v) not in values]
    return missing


def _all_blocks(blocks: Iterable[HclBlock]) -> Iterator[HclBlock]:
    for block in blocks:
        yield block
        yield from _all_blocks(block.blocks)


def _literals(expression: Node) -> Iterator[Value]:
    """Yield the literals in an argument's value, including those in lists, objects (without keys) and calls."""
    stack = [expression]
    while stack:
        node = stack.pop()
        if node.type in ("literal_value", "unary_operation"):
            yield literal(node)
        elif node.type == "object_elem":
            stack.extend(filter(None, [node.child_by_field_name("val")]))
        elif node.type not in _OPAQUE:
            stack.extend(node.children)


def _absent(code: str, kind: str, value: str) -> Diagnostic:
    return Diagnostic(code=code, message=f"The prompt asks for {value!r}; the program has no such {kind}.")
