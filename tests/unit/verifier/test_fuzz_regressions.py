"""Defects found by fuzzing, each as its smallest case."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.literals import literal, object_elements
from loraform_verifier.hcl.parse import parse
from loraform_verifier.hcl.tree import tree_of
from loraform_verifier.policy.house_policy import check_house_policy
from loraform_verifier.policy.rewrite import rewrite
from loraform_verifier.stages.denials import denials

POLICY = HousePolicy(comment="# by PiCloud", tags={"created_by": "PiCloud"})


@pytest.mark.parametrize(
    "text",
    [
        'a = "$$${" == file(" == ") == "}"\n',
        'a = <<E\n$$${" == "}\nE\n',
        'a = "%%%{ if x }y%{ endif }"\n',
        'a = "$$$$${x}"\n',
    ],
)
def test_a_call_cannot_hide_in_an_escaped_interpolation(text: str) -> None:
    """Terraform reads `$$${` as an escape: what is code to it would be text to us."""
    assert [problem.code for problem in parse(text).problems] == ["AmbiguousTemplate"]


@pytest.mark.parametrize(
    "text", ['a = "$${x}"\n', 'a = "$$$${x}"\n', 'a = "%${x}$%{ if x }y%{ endif }"\n', 'a = "$$ ${x}"\n']
)
def test_unambiguous_escapes_parse(text: str) -> None:
    assert parse(text).problems == ()


@pytest.mark.parametrize("text", ['a = "\n${x}"\n', 'a = "${x} \n ${x}"\n', 'a = "%{ if x }y\n%{ endif }"\n'])
def test_a_quoted_template_ends_on_its_line(text: str) -> None:
    assert [problem.code for problem in parse(text).problems] == ["MultiLineString"]


def test_code_in_a_quoted_template_may_span_lines() -> None:
    assert parse('a = "${\nx\n}%{ if [\n1] }y%{ endif }"\n').problems == ()


@pytest.mark.parametrize("value", [" x", "  ", "\tx ", "\u2028", ""])
def test_white_space_at_the_start_of_a_string_is_part_of_it(value: str) -> None:
    block = parse(f'a {{\n  b = "{value}"\n  c = {{ "{value}" = 1 }}\n}}\n').blocks[0]
    quoted, keyed = block.attributes
    assert literal(quoted.value) == value
    assert [element.key for element in object_elements(keyed.value) or []] == [value]


def test_a_tag_with_a_leading_space_is_another_tag() -> None:
    text = '# by PiCloud\nresource "aws_vpc" "a" {\n  tags = { created_by = " PiCloud" }\n}\n'
    assert [finding.code for finding in check_house_policy(parse(text), POLICY).broken] == ["TagWrong"]
    assert rewrite(parse(text), POLICY) == text.replace('" PiCloud"', '"PiCloud"')


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("{\n    # why\n  }", '{\n    # why\n    created_by = "PiCloud"\n  }'),
        ("{ # why\n  }", '{ # why\n    created_by = "PiCloud"\n  }'),
        ("{ /* why */ }", '{ /* why */ created_by = "PiCloud" }'),
    ],
)
def test_comments_in_empty_tags_stay(tags: str, wanted: str) -> None:
    program = '# by PiCloud\nresource "aws_vpc" "a" {{\n  tags = {}\n}}\n'
    assert rewrite(parse(program.format(tags)), POLICY) == program.format(wanted)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/* why\n*/ ", "/* why\n*/ \n# by PiCloud\n"),
        ("a {\n} /*\n  /* why */ ", "a {\n} /*\n  /* why */ \n  # by PiCloud\n  "),
        ("/* why */ ", "# by PiCloud\n/* why */ "),
    ],
)
def test_the_comment_is_not_inserted_into_another_comment(before: str, after: str) -> None:
    resource = 'resource "aws_s3_bucket_policy" "a" {\n}\n'
    assert rewrite(parse(before + resource), POLICY) == after + resource


def test_a_one_line_block_with_a_multi_line_argument_is_split() -> None:
    text = '# by PiCloud\nresource "aws_vpc" "a" { cidr_block = [\n1] }\n'
    assert rewrite(parse(text), POLICY) == (
        '# by PiCloud\nresource "aws_vpc" "a" {\n  cidr_block = [\n1]\n\n'
        '  tags = {\n    created_by = "PiCloud"\n  }\n}\n'
    )


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("<<E\nx\nE", 'merge(<<E\nx\nE\n, {\n    created_by = "PiCloud"\n  })'),
        ("{ a = <<E\nx\nE\n/* c */ }", '{ a = <<E\nx\nE\ncreated_by = "PiCloud"\n/* c */ }'),
    ],
)
def test_no_text_is_added_after_the_end_marker_of_a_heredoc(tags: str, wanted: str) -> None:
    program = '# by PiCloud\nresource "aws_vpc" "a" {{\n  tags = {}\n}}\n'
    assert rewrite(parse(program.format(tags)), POLICY) == program.format(wanted)


def test_a_comment_before_code_on_its_line_is_not_above_what_follows() -> None:
    text = '# by PiCloud\n/* why\n*/ locals {}\nresource "aws_s3_bucket_policy" "a" {\n}\n'
    assert parse(text).comments == {1: (1, "# by PiCloud")}
    assert [finding.code for finding in check_house_policy(parse(text), POLICY).broken] == ["CommentMissing"]


def test_a_comment_of_several_lines_may_stand_before_the_brace() -> None:
    assert parse('variable "a" /* why\n*/ {\n}\n').problems == ()


@pytest.mark.parametrize("text", ["a # why\n{\n}\n", "a // why\n{\n}\n", "a /* why */\n{\n}\n", 'a "b"\n"c" {\n}\n'])
def test_a_new_line_may_not_stand_before_the_brace(text: str) -> None:
    assert [problem.code for problem in parse(text).problems] == ["MissingBrace"]


@pytest.mark.parametrize("unit", [".b", "[0]"])
def test_a_long_expression_takes_little_more_than_its_parsing(unit: str) -> None:
    """What looks at all siblings of each node took five minutes for 200,000 characters; 400 times the grammar here."""
    source = f"a = x{unit * (50_000 // len(unit))}\n".encode()
    grammar = _processor_seconds(lambda: tree_of(source, source))
    assert _processor_seconds(lambda: denials(parse(source.decode()))) < 20 * grammar


def _processor_seconds(work: Callable[[], object]) -> float:
    """Return the least of three times: a collection of garbage among all that other tests loaded takes a second."""
    times = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def hidden(marker: str, line: str) -> str:
    """Return a program whose `b` the grammar takes for a comment in the heredoc, if it misses the end marker."""
    return f"a = <<{marker}\n{line}\n/*\n{marker}\nb = 1\n# */\n"


@pytest.mark.parametrize(
    "text",
    [
        "a = <<E\nE${x}\nE\n",
        "a = <<EOT\n  EOT ${x}\nEOT\n",
        "a = <<E\nE%{ if x }y\nE%{ endif }\nE\n",
        hidden("A" * 128, "foo"),
        hidden("Ł" * 65, "A" * 65),
        hidden("\u037a", "z"),
        hidden("E\u309b", "E"),
        "".join(f"a{n} = <<é{n}\n\né{n}\n" for n in range(20)) + hidden("Ł", "A"),
    ],
)
def test_an_ambiguous_heredoc_is_refused(text: str) -> None:
    """Each hid a call of `file` from us, which Terraform then made."""
    assert {problem.code for problem in parse(text).problems} == {"AmbiguousHeredoc"}


@pytest.mark.parametrize(
    "text", ["a = <<EOT\nEOTX ${x}\n EOT_\n  EOT\n", "a = <<-é\n  x ${y}\n  é\n", f"a = <<{'A' * 64}\n{'A' * 64}\n"]
)
def test_unambiguous_heredocs_parse(text: str) -> None:
    assert parse(text).problems == ()


def test_nesting_of_templates_is_limited() -> None:
    """Its scanner forgets what is open at 64: then it reads on as if nothing were."""
    assert parse("a = " + '"${' * 10 + "x" + '}"' * 10 + "\n").problems == ()
    assert [p.code for p in parse("a = " + '"${' * 11 + "x" + '}"' * 11 + "\n").problems] == ["NestingTooDeep"]
