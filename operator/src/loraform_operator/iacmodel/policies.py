"""Decides whether a candidate goes live. Pure.

`RULES` at the end is the specification; the first rule that refuses decides. Each candidate is decided once, on the
evaluation in its job's status and what is live at that time; its version records the decision for good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from loraform_api.finetunejob_status import ArmName, ArmStatus, EvaluationStatus
from loraform_api.iacmodel import Decision, PromotionSpec
from loraform_api.statistics import Pairs, lower_bound, smallest_visible_difference, upper_bound
from loraform_api.verification import Stage


@dataclass(frozen=True)
class Evidence:
    """The facts that a decision is based on."""

    evaluation: EvaluationStatus
    live_digest: str | None
    """Digest of the live adapter; None when no version is live."""
    live_version: int | None
    policy_in_force: bool
    """True when the run or the model has a house policy."""
    candidate_digest: str | None = None
    """Digest of the candidate's adapter."""
    live_left_out: bool = False
    """True when the live version could not answer in the evaluation, because its prompts are read in another way."""
    suite_decisions: int = 1
    """Candidates decided on the same suite rows, including this one."""

    @property
    def pairs(self) -> Pairs:
        return self.evaluation.paired.pairs


@dataclass(frozen=True)
class Refusal:
    """Why a candidate does not go live."""

    decision: Decision
    message: str


def enough_rows(evidence: Evidence, promotion: PromotionSpec) -> Refusal | None:
    """The suites have at least `promotion.minRows` rows."""
    rows = evidence.pairs.rows
    if rows >= promotion.min_rows:
        return None
    return Refusal(
        Decision.TOO_FEW_ROWS,
        f"the suites have {rows} rows, but `promotion.minRows` is {promotion.min_rows}: add rows in a new FineTuneJob",
    )


def measured_against_live(evidence: Evidence, promotion: PromotionSpec) -> Refusal | None:
    """The evaluation compared the candidate with the version that is live now, unless that one cannot answer."""
    measured = evidence.evaluation.live_digest
    if measured == evidence.live_digest or (measured is None and evidence.live_left_out):
        return None
    then = f"adapter {measured[:16]}" if measured else "the base because no version was live"
    now = f"version {evidence.live_version} ({evidence.live_digest[:16]})" if evidence.live_digest else "no version"
    return Refusal(
        Decision.LIVE_CHANGED,
        f"measured against {then}, but {now} is live now: create the FineTuneJob again to measure against it",
    )


def minimums_met(evidence: Evidence, promotion: PromotionSpec) -> Refusal | None:
    """Raw rates reach `promotion.minimums`; with a house policy, every valid answer conforms after the rewrite."""
    rates = {r.stage: r for r in _candidate(evidence.evaluation).rates}
    shortfalls = []
    for minimum in promotion.minimums:
        rate = rates.get(minimum.stage)
        if minimum.stage is Stage.POLICY and not evidence.policy_in_force:
            continue
        if rate is None:
            shortfalls.append(f"{minimum.stage}: not measured, minimum {minimum.rate}")
        elif Decimal(rate.raw) < Decimal(minimum.rate):
            shortfalls.append(f"{minimum.stage}: raw {rate.raw}, minimum {minimum.rate}")
    if evidence.policy_in_force and (lapse := _served_lapse(_candidate(evidence.evaluation))):
        shortfalls.append(lapse)
    if not shortfalls:
        return None
    return Refusal(Decision.MINIMUMS_NOT_MET, f"{'; '.join(shortfalls)} ({numbers(evidence)})")


def better_than_live(evidence: Evidence, promotion: PromotionSpec) -> Refusal | None:
    """The one-sided lower 95 % bound of the paired difference is above 0, or above the allowed regression."""
    if (
        promotion.require_better_than_live
        and evidence.live_digest
        and evidence.candidate_digest == evidence.live_digest
    ):
        # Batching makes greedy answers of one adapter differ, and 5 % of such comparisons would look like a gain.
        return Refusal(
            Decision.NOT_BETTER_THAN_LIVE,
            f"the candidate is the live adapter itself (version {evidence.live_version}): {numbers(evidence)}",
        )
    floor = 0.0 if promotion.require_better_than_live else -promotion.max_regression_points / 100
    if lower_bound(evidence.pairs) > floor:
        return None
    required = (
        "better than" if promotion.require_better_than_live else f"less than {-floor * 100:.0f} points worse than"
    )
    reference = _reference(evidence.evaluation)
    return Refusal(
        Decision.NOT_BETTER_THAN_LIVE,
        f"not shown to be {required} {reference} at 95 % confidence: {numbers(evidence)}",
    )


RULES: tuple[Callable[[Evidence, PromotionSpec], Refusal | None], ...] = (
    enough_rows,
    measured_against_live,
    minimums_met,
    better_than_live,
)
"""Why a candidate does not go live; the first that refuses is recorded."""


def decide(evidence: Evidence, promotion: PromotionSpec) -> tuple[Decision, str]:
    """Return the decision and a message with its figures."""
    for rule in RULES:
        refusal = rule(evidence, promotion)
        if refusal is not None:
            return refusal.decision, refusal.message
    return Decision.ACCEPTED, numbers(evidence)


def numbers(evidence: Evidence) -> str:
    """Return the figures that a decision is based on, as text."""
    pairs, both = evidence.pairs, evidence.evaluation.paired.both_passed
    low, high = lower_bound(pairs), upper_bound(pairs)
    count = evidence.suite_decisions
    repeated = f"; decision {count} on the same rows, each with a 5 % chance of a false positive" if count > 1 else ""
    clusters = f" (clustered rows: design effect {pairs.design_effect:.3g})" if pairs.design_effect > 1 else ""
    return (
        f"raw, all stages: candidate {(both + pairs.gained) / pairs.rows:.4f}, "
        f"{_reference(evidence.evaluation)} {(both + pairs.lost) / pairs.rows:.4f}, n={pairs.rows}, "
        f"difference {pairs.difference * 100:+.1f} points, 90 % interval {low * 100:+.1f} to {high * 100:+.1f} "
        f"(each bound one-sided 95 %), {pairs.gained} rows gained and {pairs.lost} lost{clusters}; "
        f"smallest detectable gain: {smallest_visible_difference(pairs) * 100:.2g} points{repeated}"
    )


def _served_lapse(candidate: ArmStatus) -> str:
    """Return how many valid answers break the policy as served; empty when none does (docs/adr/0001)."""
    if all(rate.stage != Stage.POLICY for rate in candidate.rates):
        return f"{Stage.POLICY}: not measured, every valid answer must conform after the rewrite"
    if not candidate.policy_lapses:
        return ""
    return (
        f"{Stage.POLICY}: {candidate.policy_lapses} valid answers do not conform as served, every valid answer must"
        " conform after the rewrite"
    )


def _candidate(evaluation: EvaluationStatus) -> ArmStatus:
    return next(a for a in evaluation.arms if a.name is ArmName.CANDIDATE)


def _reference(evaluation: EvaluationStatus) -> str:
    return evaluation.paired.reference.lower()
