"""May a candidate go live? Named rules in an order; the first that objects decides. Pure.

`RULES` at the end is the specification. A candidate is judged once, on the evaluation in its job's status, against what
was live when it was judged; the answer is recorded for good in its version.
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
    """What a decision rests on."""

    evaluation: EvaluationStatus
    live_digest: str | None
    """Adapter that is live now."""
    live_version: int | None
    policy_in_force: bool
    """The run was made for a house policy."""
    candidate_digest: str | None = None
    """The candidate's adapter."""
    suite_decisions: int = 1
    """How many candidates were decided on the same suite rows, this one included."""

    @property
    def pairs(self) -> Pairs:
        return self.evaluation.paired.pairs


@dataclass(frozen=True)
class Refusal:
    decision: Decision
    message: str


def enough_rows(evidence: Evidence, promotion: PromotionSpec) -> Refusal | None:
    """`minRows`: a decision needs that many suite rows."""
    rows = evidence.pairs.rows
    if rows >= promotion.min_rows:
        return None
    return Refusal(
        Decision.TOO_FEW_ROWS,
        f"the suites have {rows} rows, `promotion.minRows` asks for {promotion.min_rows}: add rows in a new job",
    )


def live_is_what_was_measured(evidence: Evidence, promotion: PromotionSpec) -> Refusal | None:
    """The candidate was compared with what is live now."""
    measured = evidence.evaluation.live_digest
    if measured == evidence.live_digest:
        return None
    then = f"adapter {measured[:16]}" if measured else "the base, as nothing was live"
    now = f"version {evidence.live_version} ({evidence.live_digest[:16]})" if evidence.live_digest else "nothing"
    return Refusal(
        Decision.LIVE_CHANGED,
        f"measured against {then}, but {now} is live now: create the FineTuneJob again to measure against it",
    )


def minimums_are_met(evidence: Evidence, promotion: PromotionSpec) -> Refusal | None:
    """Floors: each of `minimums`, raw; and where a policy is in force, valid answers conform after the rewrite."""
    rates = {r.stage: r for r in _candidate(evidence.evaluation).rates}
    short = []
    for minimum in promotion.minimums:
        rate = rates.get(minimum.stage)
        if minimum.stage is Stage.POLICY and not evidence.policy_in_force:
            continue
        if rate is None:
            short.append(f"{minimum.stage}: not measured, at least {minimum.rate} is asked")
        elif Decimal(rate.raw) < Decimal(minimum.rate):
            short.append(f"{minimum.stage}: raw {rate.raw}, at least {minimum.rate} is asked")
    if evidence.policy_in_force and (lapse := _served_lapse(_candidate(evidence.evaluation))):
        short.append(lapse)
    if not short:
        return None
    return Refusal(Decision.MINIMUMS_NOT_MET, f"{'; '.join(short)} ({numbers(evidence)})")


def better_than_live(evidence: Evidence, promotion: PromotionSpec) -> Refusal | None:
    """The one-sided 95 % bound of the paired difference is above 0, or above the regression that is allowed."""
    if (
        promotion.require_better_than_live
        and evidence.live_digest
        and evidence.candidate_digest == evidence.live_digest
    ):
        # Greedy answers of one adapter may still differ by the engine's batching: at 95 % confidence one such
        # comparison in twenty looks like an improvement.
        return Refusal(
            Decision.NOT_BETTER_THAN_LIVE,
            f"it is the very adapter that is live (version {evidence.live_version}): {numbers(evidence)}",
        )
    floor = 0.0 if promotion.require_better_than_live else -promotion.max_regression_points / 100
    if lower_bound(evidence.pairs) > floor:
        return None
    asked = (
        "better than" if promotion.require_better_than_live else f"worse by less than {-floor * 100:.0f} points than"
    )
    against = _reference(evidence.evaluation)
    return Refusal(
        Decision.NOT_BETTER_THAN_LIVE,
        f"not shown to be {asked} {against} at 95 % confidence: {numbers(evidence)}",
    )


RULES: tuple[Callable[[Evidence, PromotionSpec], Refusal | None], ...] = (
    enough_rows,
    live_is_what_was_measured,
    minimums_are_met,
    better_than_live,
)
"""Why a candidate does not go live; the first that objects is recorded."""


def decide(evidence: Evidence, promotion: PromotionSpec) -> tuple[Decision, str]:
    """Return the decision and its message, with the numbers."""
    for rule in RULES:
        refusal = rule(evidence, promotion)
        if refusal is not None:
            return refusal.decision, refusal.message
    return Decision.ACCEPTED, numbers(evidence)


def numbers(evidence: Evidence) -> str:
    """Return the figures that a decision rests on, in words."""
    pairs, both = evidence.pairs, evidence.evaluation.paired.both_passed
    low, high = lower_bound(pairs), upper_bound(pairs)
    often = evidence.suite_decisions
    again = f"; decision {often} on the same rows, each may be chance once in twenty" if often > 1 else ""
    clusters = f" (in clusters: design effect {pairs.design_effect:.3g})" if pairs.design_effect > 1 else ""
    return (
        f"raw, all stages: candidate {(both + pairs.gained) / pairs.rows:.4f}, "
        f"{_reference(evidence.evaluation)} {(both + pairs.lost) / pairs.rows:.4f}, n={pairs.rows}, "
        f"difference {pairs.difference * 100:+.1f} points, 90 % interval {low * 100:+.1f} to {high * 100:+.1f} "
        f"(each bound one-sided 95 %), {pairs.gained} rows gained and {pairs.lost} lost{clusters}; with as "
        f"many lost, a net gain of {smallest_visible_difference(pairs) * 100:.2g} points would have counted{again}"
    )


def _served_lapse(candidate: ArmStatus) -> str:
    """Say how many valid answers break the policy as served; empty when none does (docs/adr/0001)."""
    if all(rate.stage != Stage.POLICY for rate in candidate.rates):
        return f"{Stage.POLICY}: not measured, every valid answer must conform after the rewrite"
    if not candidate.policy_lapses:
        return ""
    return (
        f"{Stage.POLICY}: {candidate.policy_lapses} valid answers do not conform as served, every valid answer must"
        " after the rewrite"
    )


def _candidate(evaluation: EvaluationStatus) -> ArmStatus:
    return next(a for a in evaluation.arms if a.name is ArmName.CANDIDATE)


def _reference(evaluation: EvaluationStatus) -> str:
    return evaluation.paired.reference.lower()
