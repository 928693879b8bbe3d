"""Results and diagnostics of Rego policies; the engine runs in `integration/test_verifier_rego.py`."""

from __future__ import annotations

import pytest

from loraform_verifier.hcl.parse import parse
from loraform_verifier.rego.evaluate import LIMITS, PackFinding, PolicyResult, intent_diagnostics, resource_line
from loraform_verifier.sandbox import isolation


def test_a_failed_intent_names_its_rules_only_if_allowed() -> None:
    failed = PolicyResult(unmet=("has_vpc", "has_zone"))
    (told,) = intent_diagnostics(failed)
    assert (told.code, "has_vpc, has_zone" in told.message) == ("IntentNotMet", True)
    (untold,) = intent_diagnostics(failed, name_rules=False)
    assert "has_" not in untold.message
    assert intent_diagnostics(PolicyResult()) == []


@pytest.mark.parametrize(
    ("rule", "gates"), [("deny", True), ("violation", True), ("deny_x", True), ("warn", False), ("warn_x", False)]
)
def test_a_warning_never_gates(rule: str, gates: bool) -> None:
    finding = PackFinding("main", rule, "m")
    assert finding.gates is gates
    assert PolicyResult(findings=(finding,)).passed is not gates


def test_a_finding_has_the_line_of_its_resource() -> None:
    document = parse('\nresource "aws_vpc" "a" {\n}\n')
    whole = PackFinding("main", "deny", "too open", "X1", "HIGH", "aws_vpc.a[0]", "close it").diagnostic(document)
    assert (whole.code, whole.line, whole.hint) == ("X1", 2, "close it")
    assert whole.message == "[HIGH] aws_vpc.a[0]: too open"
    bare = PackFinding("main", "deny", "").diagnostic(document)
    assert (bare.code, bare.line, bare.message) == ("PolicyPack", None, "deny of package main is true.")


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("aws_vpc.a", 1),
        ("aws_vpc.a[0]", 1),
        ('aws_vpc.a["x.y]\\"z"]', 1),
        ("aws_vpc.b", 3),
        ("aws_vpc.c", None),
        ("module.m.aws_vpc.a", None),
        ('module.m["aws_vpc.a"].aws_vpc.a', None),
    ],
)
def test_the_line_of_an_address(address: str, line: int | None) -> None:
    assert resource_line(parse('resource "aws_vpc" "a" {\n}\nresource "aws_vpc" "b" {\n}\n'), address) == line


def test_the_thread_limit_allows_for_other_verifiers_on_the_node() -> None:
    """With 16 a second verifier that ran terraform on the same node made this one's Rego child fail at its start."""
    assert LIMITS.nproc >= isolation.Limits().nproc
