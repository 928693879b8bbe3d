"""Deny rules on the syntax tree, and what a plan decides."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_api.verification import DefaultTags, DenyRule, HousePolicy
from loraform_verifier.parse import parse
from loraform_verifier.planned import Planned, at, planned
from loraform_verifier.policy import judge

BUCKET = 'resource "aws_s3_bucket" "b" {\n  acl = %s\n}\n'
GROUP = 'resource "aws_security_group" "g" {\n  ingress {\n    cidr_blocks = %s\n  }\n}\n'


def codes(text: str, policy: HousePolicy, plan: Planned | None = None) -> tuple[list[str], list[str]]:
    findings = judge(parse(text), policy, plan or Planned())
    return [d.code for d in findings.broken], [d.code for d in findings.undecided]


def denying(**rule: Any) -> HousePolicy:
    return HousePolicy(deny=[DenyRule.model_validate({"name": "r", "types": ["*"], **rule})])


def plan_of(kind: str, after: dict[str, Any], unknown: dict[str, Any] | None = None) -> Planned:
    change = {"mode": "managed", "type": kind, "name": "b", "change": {"after": after, "after_unknown": unknown or {}}}
    return planned({"resource_changes": [change]})


@pytest.mark.parametrize(("types", "broken"), [(["aws_s3_bucket"], True), (["aws_s3_*"], True), (["aws_db_*"], False)])
def test_a_type_is_denied_by_name_or_pattern(types: list[str], broken: bool) -> None:
    assert codes(BUCKET % '"private"', denying(types=types)) == (["PolicyDenied"] * broken, [])


@pytest.mark.parametrize(
    ("text", "rule", "found"),
    [
        (BUCKET % '"public-read"', {"argument": "acl", "values": ["public-read"]}, (1, 0)),
        (BUCKET % '"private"', {"argument": "acl", "values": ["public-read"]}, (0, 0)),
        (BUCKET % "var.acl", {"argument": "acl", "values": ["public-read"]}, (0, 1)),
        (BUCKET % '"private"', {"argument": "acl"}, (1, 0)),
        (BUCKET % "null", {"argument": "acl"}, (0, 0)),
        (BUCKET % "true", {"argument": "acl", "values": ["true"]}, (1, 0)),
        (BUCKET % '"private"', {"argument": "policy"}, (0, 0)),
        (GROUP % '["10.0.0.0/8", "0.0.0.0/0"]', {"argument": "ingress.cidr_blocks", "values": ["0.0.0.0/0"]}, (1, 0)),
        (GROUP % '["10.0.0.0/8"]', {"argument": "ingress.cidr_blocks", "values": ["0.0.0.0/0"]}, (0, 0)),
        (GROUP % '[var.x, "0.0.0.0/0"]', {"argument": "ingress.cidr_blocks", "values": ["0.0.0.0/0"]}, (1, 0)),
        (GROUP % "[var.x]", {"argument": "ingress.cidr_blocks", "values": ["0.0.0.0/0"]}, (0, 1)),
        (
            'resource "aws_security_group" "g" {\n  dynamic "ingress" {\n    for_each = []\n  }\n}\n',
            {"argument": "ingress.cidr_blocks", "values": ["0.0.0.0/0"]},
            (0, 1),
        ),
    ],
)
def test_an_arguments_values_are_denied(text: str, rule: dict[str, Any], found: tuple[int, int]) -> None:
    broken, undecided = codes(text, denying(**rule))
    assert (len(broken), len(undecided)) == found


def test_a_finding_names_resource_rule_value_and_cure() -> None:
    policy = denying(name="no-public-acl", argument="acl", values=["public-read"], message="Use a bucket policy.")
    (found,) = judge(parse(BUCKET % '"public-read"'), policy).broken
    assert found.message == "aws_s3_bucket.b: no-public-acl: acl may not be 'public-read'."
    assert (found.line, found.hint) == (1, "Use a bucket policy.")


@pytest.mark.parametrize(
    ("after", "unknown", "found"),
    [({"acl": "public-read"}, {}, (1, 0)), ({"acl": "private"}, {}, (0, 0)), ({}, {"acl": True}, (0, 1))],
)
def test_where_a_plan_was_made_it_decides(
    after: dict[str, Any], unknown: dict[str, Any], found: tuple[int, int]
) -> None:
    policy = denying(argument="acl", values=["public-read"])
    broken, undecided = codes(BUCKET % "var.acl", policy, plan_of("aws_s3_bucket", after, unknown))
    assert (len(broken), len(undecided)) == found


TAGS = HousePolicy(tags={"by": "us"}, required_tags=["owner"])


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ('{ by = "us", owner = "me" }', ([], [])),
        ('{ by = "us", owner = var.me }', ([], [])),
        ('{ by = "us" }', (["TagMissing"], [])),
        ('merge(local.t, { by = "us" })', ([], ["TagUndecided"])),
    ],
)
def test_required_tags_may_have_any_value(tags: str, found: tuple[list[str], list[str]]) -> None:
    assert codes(f'resource "aws_vpc" "b" {{\n  tags = {tags}\n}}\n', TAGS) == found


def test_planned_tags_decide_what_the_tree_cannot() -> None:
    text = 'resource "aws_vpc" "b" {\n  tags = local.tags\n}\n'
    assert codes(text, TAGS, plan_of("aws_vpc", {"tags": {"by": "us", "owner": "me"}})) == ([], [])
    assert codes(text, TAGS, plan_of("aws_vpc", {"tags": {"by": "them"}})) == (["TagWrong", "TagMissing"], [])
    assert codes(text, TAGS, plan_of("aws_vpc", {"tags": {"by": "us"}}, {"tags": {"owner": True}})) == ([], [])
    assert codes(text, TAGS, plan_of("aws_vpc", {}, {"tags": True})) == ([], ["TagUndecided"] * 2)


def test_default_tags_count_where_the_policy_says_so() -> None:
    plan = plan_of("aws_vpc", {"tags": None, "tags_all": {"by": "us", "owner": "me"}})
    text = 'resource "aws_vpc" "b" {\n}\n'
    counting = TAGS.model_copy(update={"default_tags": DefaultTags.COUNTED})
    assert codes(text, TAGS, plan) == (["TagMissing"] * 2, [])
    assert codes(text, counting, plan) == ([], [])
    assert judge(parse(text), counting, Planned(), {"by": "us", "owner": "me"}).broken == []
    assert len(judge(parse(text), TAGS, Planned(), {"by": "us", "owner": "me"}).broken) == 2


def test_paths_run_through_lists() -> None:
    after = {"ingress": [{"cidr_blocks": ["a", "b"]}, {"cidr_blocks": ["c"]}], "n": 1}
    assert list(at(after, "ingress.cidr_blocks")) == ["a", "b", "c"]
    assert list(at(after, "n")) == [1]
    assert list(at({"ingress": True}, "ingress.cidr_blocks")) == [True]
