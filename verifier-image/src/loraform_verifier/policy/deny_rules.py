"""Deny rules of the house policy, checked in the plan if there is one, otherwise in the syntax tree."""

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
from loraform_verifier.hcl.parse import HclBlock
from loraform_verifier.hcl.tree import children
from loraform_verifier.terraform.planned_resources import PlannedResources


@dataclass(frozen=True, slots=True)
class PolicySubject:
    """A resource that the policy is checked on."""

    address: str
    type: str
    line: int
    """Line of its block, or of the call of its module if it has no block."""
    block: HclBlock | None
    """None for a resource of a mirrored module, which is known from the plan only."""


def policy_subject(resource: HclBlock) -> PolicySubject:
    """Return the policy subject of a resource block."""
    return PolicySubject(resource.address, resource.labels[0], resource.line, resource)


def broken_rules(
    resource: PolicySubject, rules: list[DenyRule], plan: PlannedResources
) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """Return the violated rules of one resource, and the rules that cannot be decided."""
    broken: list[Diagnostic] = []
    undecided: list[Diagnostic] = []
    for rule in rules:
        if not any(fnmatchcase(resource.type, pattern) for pattern in rule.types):
            continue
        if not rule.argument:
            broken.append(_denied(resource, rule, f"resources of type {resource.type} are denied"))
            continue
        known, complete = plan.values(resource.address, rule.argument)
        values: list[str | None] = [_text(value) for value in known]
        if not complete:
            values += _values(resource.block, rule.argument.split(".")) if resource.block else [None]
        hits = [text for text in values if text is not None and (not rule.values or text in rule.values)]
        if hits:
            reason = f"{rule.argument} may not be {hits[0][:100]!r}" if rule.values else f"{rule.argument} is denied"
            broken.append(_denied(resource, rule, reason))
        elif None in values:
            reason = f"{rule.argument} must be evaluated; it cannot be read off the program"
            undecided.append(_denied(resource, rule, reason))
    return broken, undecided


def _values(block: HclBlock, path: list[str]) -> Iterator[str | None]:
    """Yield the literals at an argument's path; None for a value that must be evaluated."""
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


def _denied(resource: PolicySubject, rule: DenyRule, reason: str) -> Diagnostic:
    code = "PolicyDenied"
    return Diagnostic(
        code=code, message=f"{resource.address}: {rule.name}: {reason}.", line=resource.line, hint=rule.message or None
    )
