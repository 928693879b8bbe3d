"""The grammar parses stand-ins of the same length; nodes have the text of the program."""

from __future__ import annotations

import pytest

from loraform_verifier.hcl.literals import literal
from loraform_verifier.hcl.parse import parse
from loraform_verifier.hcl.stand_ins import MAX_MARKERS, with_stand_ins
from loraform_verifier.hcl.tree import text_of, walk


@pytest.mark.parametrize(
    "value", ["1e3", "1E3", "2e+3", "2e-3", "-1e3", "5-1e3", "[1e3, 1e4]", "{ 1e3 = 1e3 }", '"${1e3}"', "x[1e3]"]
)
def test_exponents_without_a_fraction_parse(value: str) -> None:
    document = parse(f"locals {{\n  a = {value}\n}}\n")
    assert document.problems == ()
    assert text_of(document.blocks[0].attributes[0].value) == value


def test_the_number_keeps_its_value() -> None:
    (block,) = parse("locals {\n  a = 1e3\n  b = 103\n}\n").blocks
    assert [literal(a.value) == literal(parse("a {\n b = 1000.0\n}").blocks[0].attributes[0].value) for a in
            block.attributes] == [True, False]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["a-1e-3", "a1e+3", "é1e3", "a\u0301-1e+3", "x.1e3", "1e3x", "1e3.5", "\\u1e30", "0x1e3"]
)
def test_text_that_is_no_number_stays(text: str) -> None:
    assert with_stand_ins(text) == text


@pytest.mark.parametrize(
    "heredoc",
    [
        "<<名\ntext ${file(x)}\n名",
        "<<-größe\n  a\n  größe",
        "<<名\r\na\r\n名",
        "<<é-1\n é-1x\n  x é-1\né-1",
        "<<名\n${<<字\n名x\n字\n}\n名",
    ],
)
def test_heredocs_with_non_ascii_markers_parse(heredoc: str) -> None:
    document = parse(f"locals {{\n  a = {heredoc}\n  b = 1\n}}\n")
    assert document.problems == ()
    assert [a.name for a in document.blocks[0].attributes] == ["a", "b"]
    assert text_of(document.blocks[0].attributes[0].value) == heredoc


def test_code_after_a_non_ascii_end_marker_is_parsed() -> None:
    text = 'locals {\n  a = <<名\n\u00a0名\n  b = file("x")\n  c = <<名\n名\n}\n'
    assert [problem.code for problem in parse(text).problems] == ["AmbiguousHeredoc"]


def test_two_markers_stay_distinct() -> None:
    document = parse("locals {\n  a = <<名\n字\n名\n  b = <<字\n名\n字\n}\n")
    assert [text_of(a.value) for a in document.blocks[0].attributes] == ["<<名\n字\n名", "<<字\n名\n字"]


@pytest.mark.parametrize("letters", ["", "zz aa bb"])
def test_a_stand_in_marker_does_not_occur_in_the_text(letters: str) -> None:
    document = parse(f"locals {{\n  a = <<é\naa\n{letters}\né\n}}\n")
    assert document.problems == ()
    assert sum(node.type == "heredoc_template" for node in walk(document.root)) == 1


def test_offsets_and_comments_stay() -> None:
    text = "# 1e3 名\nlocals {\n  a = <<名\n名\n  # by 1e3\n  b = 1e3\n}\n"
    document = parse(text)
    assert document.source == text.encode()
    assert document.comments == {1: (1, "# 1e3 名"), 5: (5, "# by 1e3")}
    assert [a.line for a in document.blocks[0].attributes] == [3, 6]


@pytest.mark.parametrize("text", ["a = 1e3\n", "a = 2e-31 # é\n", "a = <<名\n 名\nx 名\n", "\ud800 <<é\né\n 1e3"])
def test_stand_ins_have_the_same_length_and_lines(text: str) -> None:
    shown, source = (t.encode("utf-8", "surrogatepass") for t in (with_stand_ins(text), text))
    assert shown != source
    assert [len(line) for line in shown.split(b"\n")] == [len(line) for line in source.split(b"\n")]


def test_markers_beyond_the_limit_are_not_replaced() -> None:
    text = "".join(f"a{n} = <<é{n}\né{n}\n" for n in range(MAX_MARKERS + 1))
    assert [problem.code for problem in parse(text).problems][:1] == ["SyntaxError"]


def test_a_marker_after_text_that_looks_like_one_is_replaced() -> None:
    assert parse('a = "<<EOT${<<名\nx\n名\n}"\n').problems == ()
