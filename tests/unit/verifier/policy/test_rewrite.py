"""The rewrite adds the comment and the tags, changes nothing else, and is idempotent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.parse import parse
from loraform_verifier.policy.house_policy import check_house_policy
from loraform_verifier.policy.rewrite import rewrite

POLICY = HousePolicy(comment="# by PiCloud", tags={"created_by": "PiCloud", "a.b/c": 'q"${x}'})
ONE_TAG = HousePolicy(comment="# by PiCloud", tags={"created_by": "PiCloud"})


def rewritten(text: str, policy: HousePolicy = ONE_TAG) -> str:
    document = parse(text)
    assert document.problems == ()
    result = rewrite(document, policy)
    again = parse(result)
    assert again.problems == ()
    assert check_house_policy(again, policy).broken == check_house_policy(again, policy).undecided == []
    assert rewrite(again, policy) == result
    return result


def test_comment_and_tags_are_added() -> None:
    before = 'data "aws_vpc" "v" {\n}\n\n# mine\nresource "aws_vpc" "a" {\n  cidr_block = "x" # why\n}\n'
    assert rewritten(before) == (
        'data "aws_vpc" "v" {\n}\n\n# mine\n# by PiCloud\nresource "aws_vpc" "a" {\n  cidr_block = "x" # why\n\n'
        '  tags = {\n    created_by = "PiCloud"\n  }\n}\n'
    )


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (" tags = {} ", ' tags = {\n  created_by = "PiCloud"\n} '),
        ("\n  tags = null\n", '\n  tags = {\n    created_by = "PiCloud"\n  }\n'),
        ('\n  tags = { Name = "x" }\n', '\n  tags = { Name = "x", created_by = "PiCloud" }\n'),
        ('\n  tags = { Name = "x", }\n', '\n  tags = { Name = "x", created_by = "PiCloud", }\n'),
        (
            '\n  tags = {\n    Name = "x" # name\n  }\n',
            '\n  tags = {\n    Name = "x" # name\n    created_by = "PiCloud"\n  }\n',
        ),
        ('\n  tags = { created_by = "me" }\n', '\n  tags = { created_by = "PiCloud" }\n'),
        ("\n  tags = var.t\n", '\n  tags = merge(var.t, {\n    created_by = "PiCloud"\n  })\n'),
        (
            '\n  tags = merge(var.t, { Name = "x" })\n',
            '\n  tags = merge(var.t, { Name = "x", created_by = "PiCloud" })\n',
        ),
        ("", '\n  tags = {\n    created_by = "PiCloud"\n  }\n'),
        (' cidr_block = "x" ', '\n  cidr_block = "x"\n\n  tags = {\n    created_by = "PiCloud"\n  }\n'),
    ],
)
def test_tags_are_set_in_each_form(body: str, wanted: str) -> None:
    before = f'# by PiCloud\nresource "aws_vpc" "a" {{{body}}}\n'
    assert rewritten(before) == f'# by PiCloud\nresource "aws_vpc" "a" {{{wanted}}}\n'


def test_autoscaling_groups_get_tag_blocks() -> None:
    result = rewritten('resource "aws_autoscaling_group" "a" {\n  max_size = 1\n}\n')
    assert '  tag {\n    key                 = "created_by"\n' in result
    assert "tags" not in result


def test_special_keys_and_values_are_quoted() -> None:
    assert '"a.b/c" = "q\\"$${x}"' in rewritten('resource "aws_vpc" "a" {\n}\n', POLICY)


def test_line_ends_and_byte_order_mark_stay() -> None:
    result = rewritten('\ufeffresource "aws_vpc" "a" {\r\n}\r\n')
    assert result.startswith('\ufeff# by PiCloud\r\nresource "aws_vpc"')
    assert "\n" not in result.replace("\r\n", "")


def test_a_conforming_program_is_untouched() -> None:
    text = '# by PiCloud\nresource "aws_vpc" "a" {\n  tags = { created_by = "PiCloud" }\n}\n'
    assert rewritten(text) == text


TAGS = st.sampled_from(
    [
        "",
        "tags = null",
        "tags = {}",
        "tags = {\n}",
        "tags = { # c\n}",
        "tags = {\n # c\n}",
        "tags = var.t",
        "tags = merge()",
        "tags = merge(a, b...)",
        "tags = merge(a, {\n  b = 1\n})",
        'tags = { created_by = "x" }',
        'tags = { created_by = "x", b = 1, created_by = "y" }',
        'tags = {\n  b = c\n  created_by = "x"\n  ("created_by") = 1\n}',
        "tags = { created_by = var.x, b = 1 }",
        'tags = {\n  (var.x) = 1\n  created_by = "PiCloud"\n}',
        "tags = { for k in v : k => k }",
        "tags = {\n  a = <<-EOT\n    x\n  EOT\n}",
        "tags = {\n  a = 1,\n  b = { c = 2 } }",
        'tags = (\n{ "created_by" : 1 }\n)',
        "tag {\n  key = 1\n}",
        'tag {\n  key = "created_by"\n  value = 1\n}\ntag {\n  key = "created_by"\n  value = var.x\n} # c',
    ]
)
KINDS = st.sampled_from(["aws_vpc", "aws_autoscaling_group", "aws_s3_bucket_policy", "x_y"])
ABOVE = st.sampled_from(["", "# by PiCloud\n", "# other\n", "/* c */ ", "\n", "  ", "// x\n\n", "é = 1\n"])
BEFORE = st.sampled_from(["", "cidr_block = 1", "nested {\n}", "# note", "nested { a = 1 }", "tags_all = {}"])


@given(st.lists(st.tuples(ABOVE, KINDS, BEFORE, TAGS), min_size=1, max_size=3), st.sampled_from(["\n", "\r\n"]))
def test_any_program_conforms_after_one_rewrite(parts: list[tuple[str, str, str, str]], newline: str) -> None:
    text = "".join(
        f'{above}resource "{kind}" "r{index}" {{\n{before}\n{tags}\n}}\n'
        for index, (above, kind, before, tags) in enumerate(parts)
    ).replace("\n", newline)
    if not parse(text).problems:
        rewritten(text)
        rewritten(text, POLICY)


GROUP = """# by PiCloud
resource "aws_autoscaling_group" "a" {
  max_size = 1

%s}
"""
TAG = """  tag {
    key                 = "created_by"
    value               = "%s"
    propagate_at_launch = true
  }
"""
DYNAMIC = """  dynamic "tag" {
    for_each = [1]
    content {
      key   = "created_by"
      value = "x"
    }
  }
"""


@pytest.mark.parametrize(
    "blocks",
    [
        TAG % "a" + TAG % "b",
        TAG % "PiCloud" + TAG % "b",
        TAG % "a" + TAG % "PiCloud",
        TAG % "PiCloud" + TAG % "PiCloud",
        TAG % "a" + DYNAMIC,
        DYNAMIC + TAG % "a",
    ],
)
def test_a_tag_given_twice_ends_as_one_block(blocks: str) -> None:
    assert rewritten(GROUP % blocks) == GROUP % (TAG % "PiCloud")


def test_a_tag_that_only_a_dynamic_block_gives_becomes_a_block() -> None:
    assert rewritten(GROUP % DYNAMIC).count("tag {") == 1


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ('{ created_by = "a", Name = "x", created_by = "b" }', '{ Name = "x", created_by = "PiCloud" }'),
        ('{ created_by = "PiCloud", "created_by" : "b" }', '{ "created_by" : "PiCloud" }'),
        (
            '{\n    created_by = "a" # mine\n    created_by = <<-E\n      b\n    E\n    created_by = "c"\n  }',
            '{\n    # mine\n    created_by = "PiCloud"\n  }',
        ),
        ('merge(var.t, { created_by = "a", created_by = "b" })', 'merge(var.t, { created_by = "PiCloud" })'),
    ],
)
def test_a_tag_given_twice_in_a_map_ends_as_one_element(tags: str, wanted: str) -> None:
    head = '# by PiCloud\nresource "aws_vpc" "a" {\n  tags = %s\n}\n'
    assert rewritten(head % tags) == head % wanted
