"""The figures of the evaluation report are consistent."""

from __future__ import annotations

import pytest

from loraform_api.evaluation import EvaluationReport
from loraform_api.finetunejob_status import ArmName
from loraform_trainer.evaluate import figures

from ....evaluated import CANDIDATE, LIVE, POLICY, evaluated


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((0.5, 0.8), "The candidate is better than base: +"),
        ((0.8, 0.5), "The candidate is worse than base: -"),
        ((0.6, 0.6), "No difference between candidate and base is shown: "),
    ],
)
def test_the_verdict_follows_the_interval(shares: tuple[float, float], words: str) -> None:
    report, _ = evaluated(samples=1, shares=shares)
    assert report.verdict.startswith(words)
    assert report.verdict.endswith(f"on 250 rows, {report.paired.gained} gained and {report.paired.lost} lost.")


@pytest.mark.parametrize("shares", [(0.5, 0.8), (0.8, 0.5)])
def test_an_adapter_against_itself_is_neither_better_nor_worse(shares: tuple[float, float]) -> None:
    report, _ = evaluated(samples=1, shares=shares, live=CANDIDATE)
    paired = report.paired
    assert report.verdict.startswith(
        f"The candidate is the live adapter itself: {paired.difference * 100:+.1f} points ("
    )
    assert report.verdict.endswith(f"on 250 rows, {paired.gained} gained and {paired.lost} lost.")


def test_the_verdict_on_one_row_is_in_the_singular() -> None:
    assert "on 1 row, " in evaluated(count=1, samples=1)[0].verdict


def test_the_report_says_whether_a_house_policy_is_in_force() -> None:
    assert [evaluated(1, samples=1, policy=policy)[0].house_policy for policy in (None, POLICY)] == [False, True]


def test_the_live_version_is_the_reference_where_there_is_one() -> None:
    report, greedy = evaluated(live=LIVE)
    assert report.paired.reference is ArmName.LIVE
    assert "than live" in report.verdict
    assert [c.row.id for _, c in figures.gained(greedy, ArmName.LIVE)] == report.paired.gained_rows
    assert [arm.name for arm in report.arms if arm.pass_at_k] == ["Live", "Candidate"]


def test_sampled_answers_change_only_pass_at_k() -> None:
    without, _ = evaluated(samples=1)
    drawn, _ = evaluated(samples=10)
    assert all(arm.pass_at_k == [] for arm in without.arms)
    assert drawn.paired == without.paired
    assert [arm.stages for arm in drawn.arms] == [arm.stages for arm in without.arms]
    for arm in drawn.arms:
        assert [(e.k, e.prompts, e.clusters) for e in arm.pass_at_k] == [(k, 250, 125) for k in (1, 5, 10)]
        assert all(e.low <= e.rate <= e.high for e in arm.pass_at_k)


def test_the_paired_table_agrees_with_the_rates() -> None:
    report, _ = evaluated()
    both, paired = {arm.name: arm.stages[-1].raw.passed for arm in report.arms}, report.paired
    assert both[ArmName.BASE] == paired.both_passed + paired.lost
    assert both[ArmName.CANDIDATE] == paired.both_passed + paired.gained
    assert (len(paired.gained_rows), len(paired.lost_rows)) == (paired.gained, paired.lost)


def test_status_has_pass_at_k_as_text() -> None:
    report, _ = evaluated()
    shown = figures.in_status(report)[ArmName.CANDIDATE]
    assert [estimate.k for estimate in shown] == [1, 5, 10]
    assert shown[0].rate == f"{report.arms[-1].pass_at_k[0].rate:.4f}"


def test_the_report_round_trips_as_json() -> None:
    report, _ = evaluated()
    assert EvaluationReport.model_validate_json(report.model_dump_json(by_alias=True, exclude_none=True)) == report
