"""Parse accepts the texts that Terraform's own parser accepts."""

from __future__ import annotations

import time

import pytest

from loraform_verifier.hcl.parse import parse
from loraform_verifier.hcl.syntax import MAX_DEPTH


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        'resource "aws_vpc" "a" {}\n',
        'resource "aws_vpc" a { cidr_block = "10.0.0.0/16" }\n',
        "locals {\n  a = <<-EOT\n    text ${1 + 1}\n  EOT\n}\n",
        'locals {\r\n  a = { "b" : 1, (local.c) = 2 }\r\n}\r\n',
        '\ufefflocals {\n  a = "%{ if true }x%{ endif }"\n}\n',
        "locals {\n  a = <<E\n  text E\n  E\n  b = <<E\nE\n}\n",
        "locals {\n  a = [for x in [1] : x if x > 0]\n}\n",
    ],
)
def test_valid_programs_parse(text: str) -> None:
    assert parse(text).problems == ()


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ('resource "aws_vpc" "a" {\n  cidr_block = \n}\n', "SyntaxError", 2),
        ('resource "aws_vpc" "a" {\n', "SyntaxError", 1),
        ("```hcl\nlocals {\n  a = 1\n}\n```\n", "SyntaxError", 1),
        ("Here is the program:\n\nlocals {\n  a = 1\n}\n", "SyntaxError", 1),
        ('locals {\n  a = <<"E"\nx\nE\n}\n', "SyntaxError", 2),
        ('locals {\n  a = <<"E"\nx\n"E"\n}\n', "SyntaxError", 2),
        ('{ "locals": { "a": 1 } }\n', "SyntaxError", 1),
        ("\n{\n}\n", "SyntaxError", 2),
        ('resource "aws_vpc" "a" {\n  timeouts {\n    create = "1h"\n', "SyntaxError", 2),
        ("locals {\n  a = [1, 2\n}\n", "SyntaxError", 3),
        ("locals {\n  a = “x”\n}\n", "SyntaxError", 2),
        ("locals {\n  a: 5\n}\n", "SyntaxError", 2),
        ("locals {\n  a = 1\n  b = 2\n  a = 3\n}\n", "AttributeRedefined", 4),
        ("a = 1 b = 2\n", "MissingNewline", 1),
        ("locals {\n  a = 1 }\n", "MissingNewline", 2),
        ("locals { a = 1\n}\n", "SingleLineBlock", 1),
        ("locals { a {} }\n", "SingleLineBlock", 1),
        ("locals {\n  a = 1\n}\nlocals {} locals {}\n", "MissingNewline", 4),
        ("locals\n{\n}\n", "MissingBrace", 1),
        ('locals {\n  a = "\n"\n}\n', "MultiLineString", 2),
        ("locals {\n  a = { b = 1 c = 2 }\n}\n", "MissingSeparator", 2),
        ('locals {\n  a = <<E\n\u00a0E\n  b = file("x")\n  c = <<E\nE\n}\n', "AmbiguousHeredoc", 2),
        ("x = \ud800\n", "InvalidCharacter", 1),
        ("a = " + "(" * 5 * MAX_DEPTH + "1" + ")" * 5 * MAX_DEPTH, "NestingTooDeep", 1),
        ("a {" * 5 * MAX_DEPTH + "}" * 5 * MAX_DEPTH, "NestingTooDeep", 1),
    ],
)
def test_invalid_texts_have_problems_with_a_line(text: str, code: str, line: int) -> None:
    document = parse(text)
    assert document.problems[0].code == code
    assert document.problems[0].line == line


def test_a_quoted_heredoc_marker_is_the_only_problem() -> None:
    assert [p.line for p in parse('locals {\n  a = <<"E"\nx\nE\n}\n').problems] == [2]


def test_blocks_have_labels_arguments_and_lines() -> None:
    document = parse('# why\nresource "aws_vpc" "a" {\n  cidr_block = "x"\n  nested {\n    b = 1\n  }\n}\n')
    (block,) = document.resources()
    assert (block.type, block.labels, block.line, block.address) == ("resource", ("aws_vpc", "a"), 2, "aws_vpc.a")
    assert [a.name for a in block.attributes] == ["cidr_block"]
    assert [(n.type, n.line) for n in block.blocks] == [("nested", 4)]
    assert document.comments == {1: (1, "# why")}


def test_a_comment_after_code_has_no_line_of_its_own() -> None:
    document = parse("locals { # here\n  a = 1 # and here\n  /* two\n  lines */\n}\n")
    assert document.comments == {4: (3, "/* two\n  lines */")}


def test_too_many_errors_stop_parsing() -> None:
    started = time.process_time()
    (problem,) = parse("a =" * 66_000).problems
    assert (problem.code, problem.line) == ("SyntaxError", 1)
    assert time.process_time() - started < 20  # it took minutes before
