"""Reflexion: repair inputs, when to stop, and which candidate is kept."""

from __future__ import annotations

import pytest

from loraform_api.verification import Diagnostic, ProgramVerdict, Stage, StageResult
from loraform_verifier.reflexion import (
    MAX_FINDINGS,
    Candidate,
    begin,
    churn,
    lost_resources,
    repair_input,
    visible_stages,
)

ORDER = (Stage.PARSE, Stage.VALIDATE, Stage.PLAN, Stage.POLICY)
BUCKET = 'resource "aws_s3_bucket" "b" {{\n  {} = "x"\n}}\n'
TWO = BUCKET + 'resource "aws_vpc" "v" {{\n  cidr_block = "10.0.0.0/16"\n}}\n'
WRONG, RIGHT = TWO.format("bukket"), TWO.format("bucket")


def finding(line: int | None = 2, code: str = "UnsupportedArgument", **more: str) -> Diagnostic:
    return Diagnostic(code=code, message="No such argument.", line=line, **more)


def judged(failed: Stage | None = None, *found: Diagnostic, inconclusive: bool = False) -> ProgramVerdict:
    """A verdict of the stages in `ORDER`, up to the one that failed."""
    stages = [StageResult(stage=s, passed=True) for s in ORDER[: ORDER.index(failed) if failed else None]]
    if failed:
        stages.append(StageResult(stage=failed, passed=False, inconclusive=inconclusive, diagnostics=list(found)))
    return ProgramVerdict(id="x", passed=failed is None, stages=stages)


REFUSED = Candidate(WRONG, judged(Stage.VALIDATE, finding(), finding(6)))


def test_the_repair_input_has_the_program_and_its_findings() -> None:
    first = finding(3, hint='Did you mean "bucket"?', file="main.tf")
    lost = Diagnostic(code="Timeout", message="No\n  place.")
    assert repair_input(" Use eu-west-1. ", Candidate(WRONG, judged(Stage.VALIDATE, first, finding(), lost))) == (
        "Use eu-west-1.\n\n"
        f"This program for it was refused:\n{WRONG.strip()}\n\n"
        "Why:\n"
        'main.tf:3 UnsupportedArgument: No such argument. (Did you mean "bucket"?)\n'
        "main.tf:2 UnsupportedArgument: No such argument.\n"
        "Timeout: No place.\n\n"
        "Write the whole program again without these faults. Change as little as possible."
    )


def test_findings_are_limited_and_the_last_stage_comes_first() -> None:
    formatting = StageResult(
        stage=Stage.FORMAT, passed=False, diagnostics=[finding(None, "NotFormatted", file="main.tf")]
    )
    stopped = StageResult(stage=Stage.VALIDATE, passed=False, diagnostics=[finding(n) for n in range(1, 9)])
    verdict = ProgramVerdict(id="x", passed=False, stages=[formatting, stopped])
    told = repair_input("", Candidate(WRONG, verdict))
    assert told.count("No such argument.") == MAX_FINDINGS
    assert "NotFormatted" not in told
    few = verdict.model_copy(update={"stages": [formatting, stopped.model_copy(update={"diagnostics": [finding()]})]})
    assert repair_input("", Candidate(WRONG, few)).index(":2 Uns") < repair_input("", Candidate(WRONG, few)).index(
        "NotF"
    )


def test_long_messages_are_shortened() -> None:
    long = finding().model_copy(update={"message": "m" * 1000})
    assert len(repair_input("", Candidate("", judged(Stage.VALIDATE, long)))) < 700


def test_intent_is_not_verified_shown_or_scored() -> None:
    assert visible_stages([Stage.PARSE, Stage.INTENT, Stage.SECURITY]) == [Stage.PARSE, Stage.SECURITY]
    marked = StageResult(stage=Stage.INTENT, passed=False, diagnostics=[Diagnostic(code="X", message="held-out-7f3a")])
    verdict = judged()
    seen = Candidate(WRONG, verdict.model_copy(update={"stages": [*verdict.stages, marked], "passed": False}))
    assert "held-out-7f3a" not in repair_input("", seen)
    assert (seen.score, seen.passed) == ((len(ORDER), 0), frozenset(ORDER))
    assert not begin(seen).can_continue(2)


def test_rounds_end_when_the_program_passes_or_they_are_used_up() -> None:
    course = begin(REFUSED)
    assert (course.can_continue(0), course.can_continue(1)) == (False, True)
    halfway = course.after(Candidate(WRONG + "\n", judged(Stage.VALIDATE, finding())))
    assert (halfway.can_continue(1), halfway.can_continue(2)) == (False, True)
    assert not course.after(Candidate(RIGHT, judged())).can_continue(2)


@pytest.mark.parametrize("repair", [None, REFUSED, Candidate(WRONG + "#", REFUSED.verdict)])
def test_a_round_without_improvement_is_the_last(repair: Candidate | None) -> None:
    course = begin(REFUSED).after(repair)
    assert course.best == (REFUSED, REFUSED)
    assert not course.can_continue(2)


def test_inconclusive_stages_are_not_repaired() -> None:
    timed_out = judged(Stage.PLAN, Diagnostic(code="Timeout", message="Too slow."), inconclusive=True)
    assert not begin(Candidate(RIGHT, timed_out)).can_continue(2)


@pytest.mark.parametrize(
    ("repair", "kept"),
    [
        (Candidate(RIGHT, judged()), True),
        (Candidate(RIGHT, judged(Stage.POLICY, *[finding()] * 9)), True),  # a later stage counts before diagnostics
        (Candidate(RIGHT, judged(Stage.VALIDATE, finding())), True),
        (Candidate(RIGHT, judged(Stage.VALIDATE, finding(), finding(), finding())), False),
        (Candidate(RIGHT, judged(Stage.PARSE, finding())), False),
    ],
)
def test_a_better_repair_is_kept(repair: Candidate, kept: bool) -> None:
    assert begin(REFUSED).after(repair).best[-1] is (repair if kept else REFUSED)


def test_of_equal_repairs_the_smaller_change_wins() -> None:
    verdict = judged(Stage.VALIDATE, finding())
    much = Candidate(RIGHT + "# a\n# b\n# c\n", verdict)
    little = Candidate(RIGHT, verdict)
    assert begin(REFUSED).after(much).after(little).best == (REFUSED, much, little)
    assert begin(REFUSED).after(little).after(much).best == (REFUSED, little, little)
    assert 0 == churn(REFUSED, REFUSED) < churn(REFUSED, little) < churn(REFUSED, much)


def test_a_repair_that_loses_a_passed_stage_is_refused() -> None:
    formatted = StageResult(stage=Stage.FORMAT, passed=True)
    first = Candidate(WRONG, REFUSED.verdict.model_copy(update={"stages": [formatted, *REFUSED.verdict.stages]}))
    untidy = formatted.model_copy(update={"passed": False})
    passes = judged()
    repair = Candidate(RIGHT, passes.model_copy(update={"stages": [untidy, *passes.stages], "passed": False}))
    assert repair.score > first.score
    assert begin(first).after(repair).best[-1] is first


def test_deleting_the_resource_of_a_finding_is_no_repair() -> None:
    without = Candidate('resource "aws_vpc" "v" {\n  cidr_block = "10.0.0.0/16"\n}\n', judged())
    assert lost_resources(REFUSED, without) == {"aws_s3_bucket.b"}
    assert begin(REFUSED).after(without).best[-1] is REFUSED


def test_resources_are_found_in_a_text_with_syntax_errors() -> None:
    broken = Candidate(WRONG.rstrip().removesuffix("}"), judged(Stage.PARSE, finding()))
    assert broken.resources() == {"aws_s3_bucket.b": 1, "aws_vpc.v": 4}
    assert begin(broken).after(Candidate(BUCKET.format("bucket"), judged())).best[-1] is broken
    whole = Candidate(RIGHT, judged())
    assert begin(broken).after(whole).best[-1] is whole


def test_a_resource_of_an_unknown_type_may_change_its_type() -> None:
    unknown = Candidate(WRONG.replace("aws_vpc", "aws_vpcs"), judged(Stage.VALIDATE, finding(4, "InvalidResourceType")))
    assert lost_resources(unknown, REFUSED) == set()
    dropped = Candidate(BUCKET.format("bucket"), judged())
    assert lost_resources(unknown, dropped) == {"aws_vpcs.v"}
    elsewhere = Candidate(RIGHT.replace('"v"', '"w"'), judged())
    assert lost_resources(unknown, elsewhere) == {"aws_vpcs.v"}
    other_block = Candidate(unknown.text, judged(Stage.VALIDATE, finding(1, "InvalidResourceType")))
    assert lost_resources(other_block, REFUSED) == {"aws_vpcs.v"}
