"""How answers of the Rego engine are read and worded; the engine itself is in `integration/test_verifier_rego.py`."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_verifier.hcl.parse import parse
from loraform_verifier.rego.child import error_messages, pack_root, read_intent, read_pack
from loraform_verifier.rego.evaluate import LIMITS, PackFinding, PolicyResult, intent_diagnostics, resource_line
from loraform_verifier.sandbox import isolation

POLICY = "# the answer\npackage terraform.validation\n\nimport rego.v1\n"


def intent(validation: object) -> Any:
    return read_intent({"terraform": {"validation": validation}}, [POLICY])


@pytest.mark.parametrize("held", [{"ok": True}, {"ok": True, "names": ["a", "b"], "n": 0}, {"ok": {"deep": [[True]]}}])
def test_an_intent_is_met_when_no_rule_is_false(held: object) -> None:
    assert intent(held) == {"decided": True, "false": []}


@pytest.mark.parametrize(
    "held", [{"ok": False}, {"fine": True, "ok": {"deep": [{"er": False}]}}, {"ok": [True, False], "fine": True}]
)
def test_a_false_anywhere_names_its_rule_once(held: object) -> None:
    assert intent(held) == {"decided": True, "false": ["ok"]}


@pytest.mark.parametrize("held", [{}, {"names": ["a"], "count": 3, "none": None}])
def test_without_a_truth_value_nothing_is_decided(held: object) -> None:
    assert intent(held) == {"decided": False, "false": []}


def pack(rules: object) -> list[dict[str, str]]:
    return list(read_pack({"main": {"inner": rules}})["findings"])


def test_a_pack_speaks_through_deny_violation_and_warn_of_any_package() -> None:
    rules = {"deny": ["a"], "deny_tags": ["b"], "violation": ["c"], "warn": ["d"], "warnings": ["e"], "helper": ["f"]}
    assert [(f["package"], f["rule"], f["msg"]) for f in pack(rules)] == [
        ("main.inner", "deny", "a"),
        ("main.inner", "deny_tags", "b"),
        ("main.inner", "violation", "c"),
        ("main.inner", "warn", "d"),
    ]


@pytest.mark.parametrize("held", [[], {}, False, None, {"undefined": False}, {"(error\n  (errormsg": True}])
def test_a_rule_that_holds_nothing_says_nothing(held: object) -> None:
    assert pack({"deny": held}) == []


def test_objects_carry_more_than_a_message() -> None:
    whole = {"msg": "m", "id": "X1", "severity": "HIGH", "resource": "aws_vpc.a", "hint": "h", "other": "o"}
    (found,) = pack({"deny": [whole]})
    assert found == {"package": "main.inner", "rule": "deny"} | {k: v for k, v in whole.items() if k != "other"}


def test_the_old_form_of_a_set_is_an_object_to_the_engine() -> None:
    found = pack({"deny": {"plain": True, '{"id":3, "msg":"m"}': True}})
    assert found == [
        {"package": "main.inner", "rule": "deny", "msg": "plain"},
        {"package": "main.inner", "rule": "deny", "msg": "m", "id": "3"},
    ]


def test_a_flood_of_findings_is_cut() -> None:
    found = pack({"deny": ["x" * 10_000] * 1000})
    assert len(found) == 50
    assert all(len(finding["msg"]) == 500 for finding in found)


def test_a_crowd_of_warnings_hides_nothing_that_gates() -> None:
    found = read_pack({"a": {"warn": [str(n) for n in range(1000)]}, "b": {"deny": ["open"]}})["findings"]
    assert (found[0]["rule"], found[0]["msg"]) == ("deny", "open")


@pytest.mark.parametrize(
    ("texts", "root"),
    [
        (["package a.b\ndeny[m] { m := 1 }"], ("a", "b")),
        (["package a.b\ndeny := x", "package a.c\nwarn := x", "package lib\nf := 1"], ("a",)),
        (["package a\ndeny := x", "package b\nviolation := x"], ()),
        (["package a\nf := 1"], ()),
        (['package a["x y"].z\ndeny := x'], ("a",)),
    ],
)
def test_only_what_holds_pack_rules_is_asked_for(texts: list[str], root: tuple[str, ...]) -> None:
    assert pack_root(texts) == root


def test_the_engines_words_are_kept_and_the_quoted_policy_is_not() -> None:
    said = "(error 1:p|12|1\n    (errormsg 16:this is unclosed)\n    (errorast |12|1\n (rego-var |1|4:held_out)))"
    assert error_messages(said + said) == "this is unclosed"
    assert error_messages("<error>") == "the engine cannot evaluate it"


def test_a_failed_intent_names_its_rules_only_where_it_may() -> None:
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


def test_a_finding_is_placed_where_its_resource_stands() -> None:
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


def test_the_child_leaves_room_for_the_threads_of_other_verifiers_on_the_node() -> None:
    """With 16 a second verifier that ran terraform on the same node made this one's Rego child fail at its start."""
    assert LIMITS.nproc >= isolation.Limits().nproc
