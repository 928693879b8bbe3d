"""The promotion rules, one test each."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_api.finetunejob_status import EvaluationStatus
from loraform_api.iacmodel import Decision, PromotionSpec
from loraform_operator.iacmodel.policies import Evidence, decide


@pytest.fixture
def decision_on(build):
    def run(
        promotion: dict[str, Any] | None = None, *, live: int | None = None, policy: bool = True, **rows: Any
    ) -> tuple[Decision, str]:
        evaluation = EvaluationStatus.model_validate(build.evaluation(**rows))
        digest = build.digest(live) if live else None
        return decide(Evidence(evaluation, digest, live, policy), PromotionSpec.model_validate(promotion or {}))

    return run


def test_a_better_candidate_is_accepted_with_its_figures(decision_on) -> None:
    decision, message = decision_on()
    assert decision is Decision.ACCEPTED
    assert message == (
        "raw, all stages: candidate 0.9750, base 0.7550, n=400, difference +22.0 points, 90 % interval +18.7 to +25.7 "
        "(each bound one-sided 95 %), 90 rows gained and 2 lost; smallest detectable gain: 1.2 points"
    )


def test_too_few_rows(decision_on) -> None:
    decision, message = decision_on(gained=90, lost=0, both=100, neither=9)
    assert decision is Decision.TOO_FEW_ROWS
    assert message == "the suites have 199 rows, but `promotion.minRows` is 200: add rows in a new FineTuneJob"
    assert decision_on({"minRows": 199}, gained=90, lost=0, both=100, neither=9)[0] is Decision.ACCEPTED


def test_a_candidate_measured_against_another_version_is_refused(decision_on) -> None:
    decision, message = decision_on(live=2)
    assert decision is Decision.LIVE_CHANGED
    assert message.startswith(
        "measured against the base because no version was live, but version 2 (2222222222222222) is live"
    )


def test_the_live_version_must_be_the_measured_one(build) -> None:
    evaluation = EvaluationStatus.model_validate(build.evaluation(live=build.digest(2)))
    for live, expected in ((2, Decision.ACCEPTED), (3, Decision.LIVE_CHANGED), (None, Decision.LIVE_CHANGED)):
        digest = build.digest(live) if live else None
        assert decide(Evidence(evaluation, digest, live, True), PromotionSpec())[0] is expected


@pytest.mark.parametrize(
    ("promotion", "rows", "message"),
    [
        ({}, {"Policy": "0.9499"}, "Policy: raw 0.9499, minimum 0.95 (raw, all stages: "),
        ({"minimums": [{"stage": "Intent", "rate": "0.98"}]}, {}, "Intent: raw 0.9700, minimum 0.98 ("),
        ({"minimums": [{"stage": "Intent", "rate": "0.1"}]}, {"Intent": ""}, "Intent: not measured, minimum 0.1"),
        ({}, {"policy_lapses": 1}, "Policy: 1 valid answers do not conform as served, every"),
        ({"minimums": []}, {"Policy": ""}, "Policy: not measured, every valid answer must conform"),
        ({}, {"Policy": "0.1", "policy_lapses": 20}, "minimum 0.95; Policy: 20 valid answers do not "),
    ],
)
def test_minimums(decision_on, promotion, rows, message) -> None:
    decision, text = decision_on(promotion, **rows)
    assert decision is Decision.MINIMUMS_NOT_MET
    assert message in text


def test_the_policy_rate_counts_valid_answers_only(decision_on) -> None:
    assert decision_on({}, Validate="0.97", Policy="0.97")[0] is Decision.ACCEPTED


def test_the_policy_stage_is_not_required_without_a_policy(decision_on) -> None:
    assert decision_on(policy=False, Policy="")[0] is Decision.ACCEPTED


@pytest.mark.parametrize(
    ("gained", "lost", "decision"),
    [
        (0, 0, Decision.NOT_BETTER_THAN_LIVE),  # A/A at temperature 0: no row differs
        (2, 0, Decision.NOT_BETTER_THAN_LIVE),
        (3, 0, Decision.ACCEPTED),
        (20, 12, Decision.NOT_BETTER_THAN_LIVE),
        (26, 12, Decision.ACCEPTED),
        (0, 30, Decision.NOT_BETTER_THAN_LIVE),
    ],
)
def test_better_than_live(decision_on, gained, lost, decision) -> None:
    assert decision_on(gained=gained, lost=lost, both=350, neither=10)[0] is decision


@pytest.mark.parametrize(
    ("lost", "points", "decision"),
    [
        (0, 5, Decision.ACCEPTED),
        (10, 5, Decision.ACCEPTED),
        (14, 5, Decision.NOT_BETTER_THAN_LIVE),
        (0, 0, Decision.NOT_BETTER_THAN_LIVE),
    ],
)
def test_a_regression_up_to_the_limit_is_accepted(decision_on, lost, points, decision) -> None:
    promotion = {"requireBetterThanLive": False, "maxRegressionPoints": points}
    assert decision_on(promotion, gained=0, lost=lost, both=386 - lost, neither=14)[0] is decision


def test_a_refusal_names_the_reference_arm(decision_on) -> None:
    _, message = decision_on(gained=1, lost=1)
    assert message.startswith("not shown to be better than base at 95 % confidence: raw, all stages: candidate ")
    _, message = decision_on({"requireBetterThanLive": False}, gained=0, lost=40)
    assert message.startswith("not shown to be less than 5 points worse than base at 95 % confidence: ")
