"""The house policy's deny rules, judged on the syntax tree; a plan, where one was made, decides instead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from tree_sitter import Node

from loraform_api.verification import DenyRule, Diagnostic
from loraform_verifier.hcl.literals import UNKNOWN, Value, as_string, inner, literal
from loraform_verifier.hcl.parse import Block
from loraform_verifier.hcl.tree import children
from loraform_verifier.terraform.planned import Planned


@dataclass(frozen=True, slots=True)
class Subject:
    """A resource that is held against the policy."""

    address: str
    type: str
    line: int
    """Of its block; of the call of its module where it has none."""
    block: Block | None
    """None for a resource of somebody else's module, of which only the plan tells."""


def subject_of(resource: Block) -> Subject:
    """Return a resource block as what is judged."""
    return Subject(resource.address, resource.labels[0], resource.line, resource)


def broken_rules(resource: Subject, rules: list[DenyRule], plan: Planned) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """Return the findings of one resource: rules it breaks, and rules that cannot be decided."""
    broken: list[Diagnostic] = []
    undecided: list[Diagnostic] = []
    for rule in rules:
        if not any(fnmatchcase(resource.type, pattern) for pattern in rule.types):
            continue
        if not rule.argument:
            broken.append(_denied(resource, rule, f"resources of type {resource.type} are denied"))
            continue
        known, whole = plan.values(resource.address, rule.argument)
        found: list[str | None] = [_text(value) for value in known]
        if not whole:
            found += _values(resource.block, rule.argument.split(".")) if resource.block else [None]
        hits = [text for text in found if text is not None and (not rule.values or text in rule.values)]
        if hits:
            what = f"{rule.argument} may not be {hits[0][:100]!r}" if rule.values else f"{rule.argument} is denied"
            broken.append(_denied(resource, rule, what))
        elif None in found:
            what = f"{rule.argument} must be evaluated; it cannot be read off the program"
            undecided.append(_denied(resource, rule, what))
    return broken, undecided


def _values(block: Block, path: list[str]) -> Iterator[str | None]:
    """Yield the literals at a path, None for what must be evaluated."""
    name, rest = path[0], path[1:]
    argument = block.attribute(name)
    if argument is not None:
        yield from _literals(argument.value) if not rest else [None]
    for nested in block.blocks:
        if nested.type == name and rest:
            yield from _values(nested, rest)
        elif nested.type == "dynamic" and nested.labels == (name,):
            yield None


def _literals(expression: Node) -> Iterator[str | None]:
    node = inner(expression)
    if node.type == "tuple":
        for item in children(node, "expression"):
            yield from _literals(item)
        return
    value: Value = literal(node)
    if value is not None:
        yield None if value is UNKNOWN else as_string(value)


def _text(value: Any) -> str:
    """Return a planned value as Terraform writes it without quotes."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return as_string(Decimal(str(value))) or ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _denied(resource: Subject, rule: DenyRule, what: str) -> Diagnostic:
    code = "PolicyDenied"
    return Diagnostic(
        code=code, message=f"{resource.address}: {rule.name}: {what}.", line=resource.line, hint=rule.message or None
    )
