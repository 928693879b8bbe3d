"""The house policy on the syntax tree: comments above resources, and tags."""

from __future__ import annotations

import pytest

from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.parse import parse
from loraform_verifier.policy.house_policy import check_house_policy
from loraform_verifier.terraform.planned_resources import planned_resources

COMMENT = "# This resource is generated using PiCloud tool"
POLICY = HousePolicy(comment=COMMENT, tags={"created_by": "PiCloud"})
TAGS = HousePolicy(tags={"created_by": "PiCloud"})


def codes(text: str, policy: HousePolicy) -> tuple[list[str], list[str]]:
    document = parse(text)
    assert document.problems == ()
    found = check_house_policy(document, policy)
    return [d.code for d in found.broken], [d.code for d in found.undecided]


def vpc(tags: str) -> str:
    return f'resource "aws_vpc" "a" {{\n  {tags}\n}}\n'


@pytest.mark.parametrize(
    "above",
    [
        f"{COMMENT}\n",
        f"  {COMMENT}  \n",
        f"# more\n{COMMENT}\n# and more\n",
        f"{COMMENT}\r\n",
        f"{COMMENT}\n/* a\n   b */\n",
    ],
)
def test_a_comment_directly_above_counts(above: str) -> None:
    assert codes(f'{above}resource "aws_vpc_dhcp_options_association" "a" {{\n}}\n', POLICY) == ([], [])


@pytest.mark.parametrize(
    "above",
    [
        "",
        f"{COMMENT}\n\n",
        "# Another comment\n",
        f"locals {{}} {COMMENT}\n",
        f"{COMMENT} indeed\n",
        f"/*\n{COMMENT}\n*/\n",
    ],
)
def test_other_comments_do_not_count(above: str) -> None:
    text = f'{above}resource "aws_vpc_dhcp_options_association" "a" {{\n}}\n'
    assert codes(text, POLICY) == (["CommentMissing"], [])


def test_each_resource_needs_its_own_comment_and_data_needs_none() -> None:
    two = f'{COMMENT}\nresource "aws_eip_association" "a" {{\n}}\nresource "aws_eip_association" "b" {{\n}}\n'
    assert codes(two, POLICY) == (["CommentMissing"], [])
    assert codes('data "aws_vpc" "a" {\n}\n', POLICY) == ([], [])


@pytest.mark.parametrize(
    "tags",
    [
        'tags = { created_by = "PiCloud" }',
        'tags = { "created_by" : "PiCloud", Name = var.x }',
        'tags = {\n    ("created_by") = "PiCloud"\n  }',
        'tags = (({ created_by = "PiCloud" }))',
        'tags = merge(var.tags, { created_by = "PiCloud" })',
        'tags = merge(var.tags, # why\n  { created_by = "PiCloud" })',
    ],
)
def test_literal_tags_count(tags: str) -> None:
    assert codes(vpc(tags), TAGS) == ([], [])


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ("", "TagMissing"),
        ("tags = null", "TagMissing"),
        ("tags = {}", "TagMissing"),
        ('tags = { Created_By = "PiCloud" }', "TagMissing"),
        ('tags = { created_by = "picloud" }', "TagWrong"),
        ('tags = { created_by = "PiCloud", created_by = "x" }', "TagWrong"),
        ('# tags = { created_by = "PiCloud" }', "TagMissing"),
        ('tags = merge({ created_by = "PiCloud" }, { created_by = "x" })', "TagWrong"),
    ],
)
def test_wrong_tags_are_reported(tags: str, code: str) -> None:
    assert codes(vpc(tags), TAGS) == ([code], [])


@pytest.mark.parametrize(
    "tags",
    [
        "tags = var.tags",
        "tags = local.tags",
        'tags = { created_by = "Pi${var.cloud}" }',
        "tags = { created_by = var.x }",
        'tags = { (var.k) = "x", created_by = "PiCloud" }',
        "tags = merge(var.tags, { Name = 1 })",
        'tags = merge({ created_by = "PiCloud" }, var.tags)',
        'tags = merge(var.tags, [{ created_by = "PiCloud" }]...)',
        'tags = { for k in ["created_by"] : k => "PiCloud" }',
        'tags = true ? { created_by = "PiCloud" } : {}',
    ],
)
def test_tags_that_must_be_evaluated_are_undecided(tags: str) -> None:
    assert codes(vpc(tags), TAGS) == ([], ["TagUndecided"])


def test_autoscaling_groups_carry_tag_blocks() -> None:
    def group(body: str) -> str:
        return f'resource "aws_autoscaling_group" "a" {{\n{body}\n}}\n'

    tag = 'tag {\n  key = "created_by"\n  value = "PiCloud"\n  propagate_at_launch = true\n}'
    assert codes(group(tag), TAGS) == ([], [])
    assert codes(group(""), TAGS) == (["TagMissing"], [])
    assert codes(group('dynamic "tag" {\n  for_each = var.t\n  content {}\n}'), TAGS) == ([], ["TagUndecided"])


def test_types_that_cannot_carry_tags_need_none() -> None:
    for name in ("aws_route_table_association", "random_id", "aws_made_up_thing"):
        assert codes(f'resource "{name}" "a" {{\n}}\n', TAGS) == ([], [])


def test_numbers_and_bools_count_as_strings() -> None:
    policy = HousePolicy(tags={"a": "10", "b": "true", "c": "1.0"})
    assert codes(vpc('tags = { a = 10.0, b = true, c = "1.0" }'), policy) == ([], [])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["PiCloud", "PiCloud"], ([], [])),
        (["a", "PiCloud"], (["TagWrong"], [])),
        (["PiCloud", "a"], (["TagWrong"], [])),
        (["PiCloud", "${var.a}"], ([], ["TagUndecided"])),
    ],
)
def test_every_place_that_gives_a_tag_must_be_right(values: list[str], expected: tuple[list[str], list[str]]) -> None:
    blocks = "".join(f'  tag {{\n    key   = "created_by"\n    value = "{value}"\n  }}\n' for value in values)
    assert codes(f'resource "aws_autoscaling_group" "a" {{\n{blocks}}}\n', TAGS) == expected
    elements = ", ".join(f'created_by = "{value}"' for value in values)
    assert codes(vpc(f"tags = {{ {elements} }}"), TAGS) == expected


def test_every_planned_value_of_a_tag_must_be_right() -> None:
    group = 'resource "aws_autoscaling_group" "a" {\n}\n'
    tags = [{"key": "created_by", "value": value, "propagate_at_launch": True} for value in ("a", "PiCloud")]
    for planned, wanted in ((tags, ["TagWrong"]), (tags[::-1], ["TagWrong"]), (tags[1:], [])):
        change = {"mode": "managed", "address": "aws_autoscaling_group.a", "change": {"after": {"tag": planned}}}
        found = check_house_policy(parse(group), TAGS, planned_resources({"resource_changes": [change]}))
        assert [d.code for d in found.broken] == wanted
