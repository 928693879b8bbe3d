"""How the output of the Rego engine is parsed; the engine runs in `integration/test_verifier_rego.py`."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_verifier.rego.child import error_messages, pack_root, read_intent, read_pack

POLICY = "# the answer\npackage terraform.validation\n\nimport rego.v1\n"


def intent(validation: object) -> Any:
    return read_intent({"terraform": {"validation": validation}}, [POLICY])


@pytest.mark.parametrize("held", [{"ok": True}, {"ok": True, "names": ["a", "b"], "n": 0}, {"ok": {"deep": [[True]]}}])
def test_an_intent_is_met_when_no_rule_is_false(held: object) -> None:
    assert intent(held) == {"decided": True, "false": []}


@pytest.mark.parametrize(
    "held", [{"ok": False}, {"fine": True, "ok": {"deep": [{"er": False}]}}, {"ok": [True, False], "fine": True}]
)
def test_a_nested_false_names_its_rule_once(held: object) -> None:
    assert intent(held) == {"decided": True, "false": ["ok"]}


@pytest.mark.parametrize("held", [{}, {"names": ["a"], "count": 3, "none": None}])
def test_without_a_boolean_nothing_is_decided(held: object) -> None:
    assert intent(held) == {"decided": False, "false": []}


def pack(rules: object) -> list[dict[str, str]]:
    return list(read_pack({"main": {"inner": rules}})["findings"])


def test_findings_come_from_deny_violation_and_warn_of_any_package() -> None:
    rules = {"deny": ["a"], "deny_tags": ["b"], "violation": ["c"], "warn": ["d"], "warnings": ["e"], "helper": ["f"]}
    assert [(f["package"], f["rule"], f["msg"]) for f in pack(rules)] == [
        ("main.inner", "deny", "a"),
        ("main.inner", "deny_tags", "b"),
        ("main.inner", "violation", "c"),
        ("main.inner", "warn", "d"),
    ]


@pytest.mark.parametrize("held", [[], {}, False, None, {"undefined": False}, {"(error\n  (errormsg": True}])
def test_an_empty_rule_gives_no_finding(held: object) -> None:
    assert pack({"deny": held}) == []


def test_an_object_gives_all_known_fields() -> None:
    whole = {"msg": "m", "id": "X1", "severity": "HIGH", "resource": "aws_vpc.a", "hint": "h", "other": "o"}
    (found,) = pack({"deny": [whole]})
    assert found == {"package": "main.inner", "rule": "deny"} | {k: v for k, v in whole.items() if k != "other"}


def test_the_old_form_of_a_set_is_read_from_an_object() -> None:
    found = pack({"deny": {"plain": True, '{"id":3, "msg":"m"}': True}})
    assert found == [
        {"package": "main.inner", "rule": "deny", "msg": "plain"},
        {"package": "main.inner", "rule": "deny", "msg": "m", "id": "3"},
    ]


def test_findings_are_limited() -> None:
    found = pack({"deny": ["x" * 10_000] * 1000})
    assert len(found) == 50
    assert all(len(finding["msg"]) == 500 for finding in found)


def test_the_limit_cuts_warnings_first() -> None:
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
def test_the_query_root_covers_only_pack_rules(texts: list[str], root: tuple[str, ...]) -> None:
    assert pack_root(texts) == root


def test_error_messages_do_not_quote_the_policy() -> None:
    said = "(error 1:p|12|1\n    (errormsg 16:this is unclosed)\n    (errorast |12|1\n (rego-var |1|4:held_out)))"
    assert error_messages(said + said) == "this is unclosed"
    assert error_messages("<error>") == "the engine cannot evaluate it"
