"""Deny rules, and house policy checks that a plan decides."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_api.verification import DefaultTags, DenyRule, HousePolicy
from loraform_verifier.hcl.parse import parse
from loraform_verifier.policy.house_policy import NO_DEFAULTS, ResourceTags, check_house_policy
from loraform_verifier.terraform.planned_resources import PlannedResources, planned_resources

BUCKET = 'resource "aws_s3_bucket" "b" {\n  acl = %s\n}\n'
GROUP = 'resource "aws_security_group" "g" {\n  ingress {\n    cidr_blocks = %s\n  }\n}\n'


def codes(
    text: str, policy: HousePolicy, plan: PlannedResources | None = None, defaults: ResourceTags = NO_DEFAULTS
) -> tuple[list[str], list[str]]:
    findings = check_house_policy(parse(text), policy, plan or PlannedResources(), defaults)
    return [d.code for d in findings.broken], [d.code for d in findings.undecided]


def denying(**rule: Any) -> HousePolicy:
    return HousePolicy(deny=[DenyRule.model_validate({"name": "r", "types": ["*"], **rule})])


def change_of(
    kind: str, after: dict[str, Any], unknown: dict[str, Any] | None = None, module: str = ""
) -> dict[str, Any]:
    address = f"{module}.{kind}.b".lstrip(".")
    change = {"after": after, "after_unknown": unknown or {}}
    return {"mode": "managed", "address": address, "type": kind, "name": "b", "change": change}


def plan_of(kind: str, after: dict[str, Any], unknown: dict[str, Any] | None = None) -> PlannedResources:
    return planned_resources({"resource_changes": [change_of(kind, after, unknown)]})


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


def test_a_finding_names_resource_rule_value_and_hint() -> None:
    policy = denying(name="no-public-acl", argument="acl", values=["public-read"], message="Use a bucket policy.")
    (found,) = check_house_policy(parse(BUCKET % '"public-read"'), policy).broken
    assert found.message == "aws_s3_bucket.b: no-public-acl: acl may not be 'public-read'."
    assert (found.line, found.hint) == (1, "Use a bucket policy.")


@pytest.mark.parametrize(
    ("after", "unknown", "found"),
    [({"acl": "public-read"}, {}, (1, 0)), ({"acl": "private"}, {}, (0, 0)), ({}, {"acl": True}, (0, 1))],
)
def test_a_plan_decides(after: dict[str, Any], unknown: dict[str, Any], found: tuple[int, int]) -> None:
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


def test_planned_tags_decide_where_the_program_has_no_literals() -> None:
    text = 'resource "aws_vpc" "b" {\n  tags = local.tags\n}\n'
    assert codes(text, TAGS, plan_of("aws_vpc", {"tags": {"by": "us", "owner": "me"}})) == ([], [])
    assert codes(text, TAGS, plan_of("aws_vpc", {"tags": {"by": "them"}})) == (["TagWrong", "TagMissing"], [])
    assert codes(text, TAGS, plan_of("aws_vpc", {"tags": {"by": "us"}}, {"tags": {"owner": True}})) == ([], [])
    assert codes(text, TAGS, plan_of("aws_vpc", {}, {"tags": True})) == ([], ["TagUndecided"] * 2)


def test_every_planned_instance_is_checked() -> None:
    text = 'resource "aws_vpc" "b" {\n  tags = local.tags\n}\n'
    good, bad = {"tags": {"by": "us", "owner": "me"}}, {"tags": {"by": "them", "owner": "me"}}
    unknown = change_of("aws_vpc", {}, {"tags": True})
    plan = planned_resources({"resource_changes": [change_of("aws_vpc", good), change_of("aws_vpc", bad), unknown]})
    assert codes(text, TAGS, plan) == (["TagWrong"], ["TagUndecided"] * 2)
    acl = denying(argument="acl", values=["public-read"])
    changes = [change_of("aws_s3_bucket", {}, {"acl": True}), change_of("aws_s3_bucket", {"acl": "public-read"})]
    assert codes(BUCKET % "var.acl", acl, planned_resources({"resource_changes": changes})) == (["PolicyDenied"], [])


def test_equal_findings_of_several_instances_are_one() -> None:
    plan = planned_resources({"resource_changes": [change_of("aws_vpc", {"tags": {"owner": "me"}})] * 3})
    assert codes('resource "aws_vpc" "b" {\n  tags = local.tags\n}\n', TAGS, plan) == (["TagMissing"], [])


def test_a_modules_resources_are_those_below_its_calls() -> None:
    text = 'resource "aws_vpc" "b" {\n  tags = var.tags\n}\n'
    good, bad = {"tags": {"by": "us", "owner": "me"}}, {"tags": {"by": "them", "owner": "me"}}
    plan = planned_resources(
        {
            "resource_changes": [
                change_of("aws_vpc", good, module='module.net["x.y"]'),
                change_of("aws_vpc", bad, module="module.net.module.deep[0]"),
                change_of("aws_vpc", bad, module="module.network"),
            ]
        }
    )
    assert codes(text, TAGS, plan) == ([], ["TagUndecided"] * 2)
    assert codes(text, TAGS, plan.below(["module.net."])) == ([], [])
    assert codes(text, TAGS, plan.below(["module.net.", "module.net.module.deep."])) == (["TagWrong"], [])


COUNTING = TAGS.model_copy(update={"default_tags": DefaultTags.COUNTED})
UNTAGGED = 'resource "aws_vpc" "b" {\n}\n'


def test_default_tags_count_where_the_policy_says_so() -> None:
    plan = plan_of("aws_vpc", {"tags": None, "tags_all": {"by": "us", "owner": "me"}})
    assert codes(UNTAGGED, TAGS, plan) == (["TagMissing"] * 2, [])
    assert codes(UNTAGGED, COUNTING, plan) == ([], [])
    read = ResourceTags({"by": ("us",), "owner": ("me",)})
    assert codes(UNTAGGED, COUNTING, defaults=read) == ([], [])
    assert codes(UNTAGGED, TAGS, defaults=read) == (["TagMissing"] * 2, [])


def test_a_tag_that_may_be_in_incomplete_default_tags_is_undecided() -> None:
    partly = ResourceTags({"owner": ("me",)}, complete=False)
    plan = plan_of("aws_vpc", {"tags": None, "tags_all": {"owner": "me"}})
    for known in (plan, PlannedResources()):
        assert codes(UNTAGGED, COUNTING, known, partly) == ([], ["TagUndecided"])
        assert codes(UNTAGGED, TAGS, known, partly) == (["TagMissing"] * 2, [])
    wrong = plan_of("aws_vpc", {"tags_all": {"owner": "me", "by": "them"}})
    assert codes(UNTAGGED, COUNTING, wrong, partly) == (["TagWrong"], [])


def test_default_tags_join_planned_tags_if_tags_all_is_unknown() -> None:
    tagged = 'resource "aws_vpc" "b" {\n  tags = var.tags\n}\n'
    plan = plan_of("aws_vpc", {"tags": {"by": "us"}}, {"tags_all": True})
    assert codes(tagged, COUNTING, plan, ResourceTags({"owner": ("me",), "by": ("them",)})) == ([], [])
    assert codes(tagged, COUNTING, plan) == (["TagMissing"], [])


def test_autoscaling_groups_get_no_default_tags() -> None:
    group = 'resource "aws_autoscaling_group" "b" {\n}\n'
    read = ResourceTags({"by": ("us",), "owner": ("me",)}, complete=False)
    assert codes(group, COUNTING, defaults=read) == (["TagMissing"] * 2, [])
    assert codes(group, COUNTING, plan_of("aws_autoscaling_group", {"tag": []}), read) == (["TagMissing"] * 2, [])
