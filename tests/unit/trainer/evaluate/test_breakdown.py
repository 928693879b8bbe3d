"""Rates by difficulty, suite and type: denominators and bounds."""

from __future__ import annotations

from loraform_api.finetunejob_status import ArmName
from loraform_api.verification import ProgramVerdict, Stage
from loraform_trainer.evaluate import breakdown
from loraform_trainer.evaluate.arms import Arm, EvaluationRow, ScoredAnswer
from loraform_trainer.evaluate.breakdown import MAX_GROUPS

GOOD = ProgramVerdict(id="x", passed=True, stages=[])
ARM = Arm(ArmName.CANDIDATE, "m")


def scored(
    name: str, *types: str, difficulty: str = "", passed: bool = True, truncated: bool = False, suite: str = "suite"
) -> ScoredAnswer:
    row = EvaluationRow(name, suite, "i", "", None, (Stage.PARSE,), None, types, difficulty)
    return ScoredAnswer(ARM, row, "text", truncated, GOOD if passed and not truncated else None)


def rates(groups: list) -> dict[str, tuple[int, int]]:
    found = {group.name: group.rates[ArmName.CANDIDATE] for group in groups}
    return {name: (rate.passed, rate.rows) for name, rate in found.items()}


def test_a_row_counts_in_each_of_its_types_failed_or_not() -> None:
    answers = [
        scored("a", "aws_vpc", "aws_subnet"),
        scored("b", "aws_vpc", passed=False),
        scored("c", "aws_vpc", truncated=True),
        scored("d"),
    ]
    groups, left_out = breakdown.by_type({ARM.name: answers})
    assert rates(groups) == {"aws_vpc": (1, 3), "aws_subnet": (1, 1), "not said": (1, 1)}
    assert [group.name for group in groups] == ["aws_vpc", "aws_subnet", "not said"]
    assert left_out == 0


def test_a_type_named_twice_counts_once() -> None:
    groups, _ = breakdown.by_type({ARM.name: [scored("a", "aws_vpc", "aws_vpc")]})
    assert rates(groups) == {"aws_vpc": (1, 1)}


def test_numeric_difficulties_are_in_ascending_order() -> None:
    answers = [scored(name, difficulty=name) for name in ("10", "2", "hard", "1")]
    answers.append(scored("x"))
    assert [g.name for g in breakdown.by_difficulty({ARM.name: answers})] == ["1", "2", "10", "hard", "not said"]


def test_each_suite_has_its_rows() -> None:
    answers = [scored("a"), scored("b", passed=False, suite="other"), scored("c", suite="other")]
    groups = breakdown.by_suite({ARM.name: answers})
    assert [group.name for group in groups] == ["other", "suite"]
    assert rates(groups) == {"other": (1, 2), "suite": (1, 1)}


def test_an_attribute_that_no_row_has_gives_no_groups() -> None:
    answers = {ARM.name: [scored("a"), scored("b")]}
    assert breakdown.by_difficulty(answers) == []
    assert breakdown.by_type(answers) == ([], 0)


def test_the_list_of_types_is_bounded_and_counts_the_rest() -> None:
    answers = [scored(f"{i}-{n}", f"aws_type_{i:03}") for i in range(50) for n in range(1 + (i == 49))]
    groups, left_out = breakdown.by_type({ARM.name: answers})
    assert (len(groups), left_out) == (MAX_GROUPS, 20)
    assert groups[0].name == "aws_type_049"


def test_the_last_figures_are_those_of_all_stages() -> None:
    answers = [scored("a"), scored("b", truncated=True), scored("c", passed=False)]
    shares = {s.stage: (s.raw.passed, s.raw.rows) for s in breakdown.by_stage(answers)}
    assert shares["All"] == (1, 3)
    assert shares["Parse"][1] == 3
