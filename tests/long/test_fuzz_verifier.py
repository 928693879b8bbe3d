"""No text crashes or stalls the verifier, and the rewriter does its work and nothing else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import pytest

from loraform_api.verification import DenyRule, HousePolicy, IntentSpec
from loraform_verifier.hcl.configuration import Configuration
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.hcl.normalise import normalise
from loraform_verifier.hcl.parse import Document, parse
from loraform_verifier.policy.house_policy import check_house_policy
from loraform_verifier.policy.rewrite import rewrite
from loraform_verifier.schema.catalogue import default
from loraform_verifier.schema.check import check_document as check_schema
from loraform_verifier.stages.denials import denials
from loraform_verifier.stages.intent import missing_requirements
from loraform_verifier.terraform.plannable import plannable

from .fuzzing import CASE_SECONDS, check
from .preserved import check_preserved

pytestmark = pytest.mark.slow

POLICIES = (
    HousePolicy(comment="# by PiCloud", tags={"created_by": "PiCloud"}),
    HousePolicy(comment="#", tags={"team": 'é 名 ${x} %{y} "q" \\ \n\t', "a.b/c": "", "for": " x", "created_by": "1"}),
)
RULES = HousePolicy(
    required_tags=["Name"],
    deny=[
        DenyRule(name="all", types=["aws_*"], argument="nested.a1"),
        DenyRule(name="names", types=["*"], argument="name", values=["x", "1"]),
        DenyRule(name="type", types=["x_y"]),
    ],
)
ASKED = IntentSpec(types=["aws_vpc", "é"], names=["main", ""], values=["1.50", "x", "1e400", "-1"])
SIZE = 200_000


def read(text: str) -> Document | None:
    """Parse a text; None when it has problems, which must name lines of it."""
    document = parse(text)
    lines = text.count("\n") + 1
    for problem in document.problems:
        assert problem.line is not None, f"{problem.code} has no line"
        assert 1 <= problem.line <= lines, f"{problem.code} at line {problem.line} of {lines}"
    return None if document.problems else document


def judged(text: str) -> bool:
    """Every judge of the syntax tree takes every program; normalising moves no line and leaves a program."""
    document = read(text)
    if document is None:
        return False
    configuration = Configuration({"main.tf": document})
    check_house_policy(document, RULES)
    missing_requirements(document.blocks, ASKED)
    denials(document)
    check_schema(document, default())
    modules = modules_of(configuration, "registry.terraform.io", None)
    normalised = normalise(configuration, modules)
    plannable(configuration, normalised, modules)
    shown = normalised.files["main.tf"]
    assert shown.count(b"\n") == document.source.count(b"\n"), "normalising changed the number of lines"
    assert parse(shown.decode()).problems == (), "the normalised program has problems"
    return True


def rewritten(text: str, policies: Sequence[HousePolicy] = POLICIES) -> bool:
    """One rewrite makes the program conform, a second does nothing, and all the rest of it stays."""
    document = read(text)
    if document is None:
        return False
    for policy in policies:
        result = rewrite(document, policy)
        after = parse(result)
        assert after.problems == (), f"after rewriting: {after.problems[0]} in {result!r}"
        findings = check_house_policy(after, policy)
        assert findings.broken == findings.undecided == [], f"{(findings.broken + findings.undecided)[0]} in {result!r}"
        assert rewrite(after, policy) == result, f"a second rewrite changed {result!r}"
        check_preserved(document, after, policy)
    return True


@pytest.mark.parametrize(
    ("prop", "kind", "cases"),
    [
        (judged, "sane", 30_000),
        (judged, "odd", 30_000),
        (judged, "damaged", 60_000),
        (rewritten, "sane", 30_000),
        (rewritten, "odd", 30_000),
        (rewritten, "damaged", 30_000),
    ],
)
def test_generated_programs(prop: object, kind: str, cases: int) -> None:
    assert callable(prop)
    print(check(prop, kind, cases))


def filled(start: str, unit: str, end: str = "") -> str:
    """Return a text of the largest size: `unit` as often as fits."""
    return start + unit * ((SIZE - len(start) - len(end)) // len(unit)) + end


def paired(start: str, opening: str, middle: str, closing: str, count: int) -> str:
    """Return a nesting that ends."""
    return f"{start}{opening * count}{middle}{closing * count}\n"


VPC = 'resource "aws_vpc" "a" {'
LARGE = {
    "brackets": filled("", "["),
    "braces": filled("", "{"),
    "parentheses": paired("a = ", "(", "1", ")", SIZE // 2 - 5),
    "signs": filled("a = ", "-", "1\n"),
    "negations": filled("a = ", "!", "a\n"),
    "quotes": filled("", '"${'),
    "directives": filled('a = "', "%{if x}", '"\n'),
    "directives that end": paired('a = "', "%{if x}", "", "%{endif}", 13_000),
    "heredocs": filled("", "a = <<E\n"),
    "heredocs that end": filled("", "a = <<E\nE\n"),
    "a heredoc of near ends": filled("a = <<E\n", "E E\n", "E\n"),
    "a heredoc of ends": filled("a = <<E\n", " E\n", "E\n"),
    "interpolations": filled('a = "', "${x}", '"\n'),
    "lines of a quoted template": filled('a = "', "${\nx\n}", '"\n'),
    "escapes": filled('a = "', "$$", '${x}"\n'),
    "comments": filled("", "/*"),
    "comments that end": filled("", "/**/"),
    "lines of comments": filled("", "# by\n"),
    "comments above": filled("", "# by\n", f"{VPC}}}\n"),
    "arguments": "".join(f"a{n} = 1\n" for n in range(SIZE // 12)),
    "equal arguments": filled("", "a=1\n"),
    "blocks": filled("", "a {}\n"),
    "nested blocks": paired("", "a {\n", "", "}\n", 120),
    "deep blocks": paired("", "a {\n", "", "}\n", SIZE // 6 - 5),
    "resources": filled("", f"{VPC}}}\n"),
    "resources in a row": filled("", VPC + "}"),
    "a tag": filled(f"{VPC}\n tags = {{\n", "k = 1\n", " }\n}\n"),
    "tag blocks": filled('resource "aws_autoscaling_group" "a" {\n', "tag {\nkey = 1\nvalue = 2\n}\n", "}\n"),
    "a sum": filled("a = 1", "+1", "\n"),
    "steps": filled("a = x", ".b", "\n"),
    "indexes": filled("a = x", "[0]", "\n"),
    "conditions": filled("a = ", "x ? "),
    "loops": filled("a = ", "[for x in "),
    "a list": filled("a = [", "1,\n", "]\n"),
    "an object": filled("a = {", "b = 1\n", "}\n"),
    "digits": filled("a = ", "9", "\n"),
    "a name": filled("", "n", " = 1\n"),
    "backslashes": filled('a = "', "\\", '"\n'),
    "NUL": filled("", "\0"),
    "marks": filled("", "\ufeff"),
    "surrogates": filled("", "\ud800"),
    "letters": filled("", "é"),
    "line ends": filled("", "\r\n"),
    "references": filled(f"{VPC}}}\na = [\n", "aws_vpc.a.arnn,\n", "]\n"),
    "calls": filled("a = [\n", 'file("x"),\n', "]\n"),
}


def check_large(name: str) -> None:
    """Raise AssertionError when a text of the largest size takes longer than a case may."""
    for work in (judged, *(partial(rewritten, policies=[policy]) for policy in POLICIES)):
        started = time.process_time()
        work(LARGE[name])
        assert time.process_time() - started < CASE_SECONDS, work


@pytest.mark.parametrize("name", LARGE)
def test_large_texts_take_seconds(name: str) -> None:
    check_large(name)
