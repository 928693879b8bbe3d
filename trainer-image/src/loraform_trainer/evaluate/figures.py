"""Computes `EvaluationReport`, all figures of an evaluation, from scored answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loraform_api.evaluation import ArmFigures, EvaluationReport, LossPoint, PairedFigures
from loraform_api.finetunejob_status import ArmName, Paired, PassAtK
from loraform_api.run import ArmResult, EvaluateResult, RunConfig
from loraform_api.statistics import interval_text, lower_bound, smallest_visible_difference, upper_bound
from loraform_trainer.evaluate import breakdown, passk
from loraform_trainer.evaluate.arms import EvaluationRow, ScoredAnswer
from loraform_trainer.evaluate.breakdown import ByArm
from loraform_trainer.evaluate.html.markup import number_of
from loraform_trainer.evaluate.passk import Prompt

MAX_IDS = 200


def report(
    config: RunConfig, result: EvaluateResult, by_arm: ByArm, samples: ByArm, loss: Sequence[LossPoint]
) -> EvaluationReport:
    """Return the report of a run; `samples` has the sampled answers of the arms that have some."""
    evaluation = config.spec.evaluation
    paired = pairing(result.paired, by_arm)
    arms = [_arm(arm, by_arm[arm.name], samples.get(arm.name, ())) for arm in result.arms]
    types, left_out = breakdown.by_type(by_arm)
    return EvaluationReport(
        namespace=config.namespace,
        name=config.name,
        uid=config.uid,
        verdict=verdict(paired, arms),
        rows=result.arms[0].rows,
        samples_per_prompt=evaluation.samples_per_prompt,
        temperature=evaluation.temperature,
        house_policy=config.policy is not None,
        arms=arms,
        paired=paired,
        by_suite=breakdown.by_suite(by_arm),
        by_difficulty=breakdown.by_difficulty(by_arm),
        by_type=types,
        types_left_out=left_out,
        loss=list(loss),
        selection=result.selection,
        reflexion=result.reflexion,
        parity_max_difference=result.parity_max_difference,
        toolchain=result.toolchain,
    )


def _arm(arm: ArmResult, answers: Sequence[ScoredAnswer], samples: Sequence[ScoredAnswer]) -> ArmFigures:
    return ArmFigures(
        name=arm.name,
        prompt_template=answers[0].arm.template,
        adapter_digest=answers[0].arm.digest,
        stages=breakdown.by_stage(answers),
        truncated=breakdown.rate(answers, lambda s: s.truncated),
        inconclusive=breakdown.rate(answers, lambda s: s.inconclusive),
        hallucinated=breakdown.rate(answers, lambda s: s.hallucinated),
        distinct_answers=arm.distinct_answers,
        pass_at_k=passk.estimates(prompts(samples)),
    )


def pairing(paired: Paired, by_arm: ByArm) -> PairedFigures:
    """Return the paired comparison with its interval, and the ids of gained and lost rows."""
    pairs, reference = paired.pairs, ArmName(paired.reference)
    return PairedFigures(
        reference=reference,
        both_passed=paired.both_passed,
        gained=pairs.gained,
        lost=pairs.lost,
        neither_passed=paired.neither_passed,
        difference=pairs.difference,
        low=lower_bound(pairs),
        high=upper_bound(pairs),
        design_effect=pairs.design_effect,
        smallest_visible_difference=smallest_visible_difference(pairs),
        gained_rows=[candidate.row.id for _, candidate in gained(by_arm, reference)][:MAX_IDS],
        lost_rows=[candidate.row.id for _, candidate in lost(by_arm, reference)][:MAX_IDS],
    )


def gained(by_arm: ByArm, reference: ArmName) -> list[tuple[ScoredAnswer, ScoredAnswer]]:
    """Return both answers, reference and candidate, to each row that only the candidate passed."""
    return [(r, c) for r, c in zip(by_arm[reference], by_arm[ArmName.CANDIDATE], strict=True) if c.passed > r.passed]


def lost(by_arm: ByArm, reference: ArmName) -> list[tuple[ScoredAnswer, ScoredAnswer]]:
    """Return both answers, reference and candidate, to each row that only the reference passed."""
    return [(r, c) for r, c in zip(by_arm[reference], by_arm[ArmName.CANDIDATE], strict=True) if c.passed < r.passed]


def is_live(arms: Sequence[ArmFigures]) -> bool:
    """Return True if the candidate is the live adapter, so that any difference is noise."""
    digests = {arm.name: arm.adapter_digest for arm in arms}
    return digests.get(ArmName.LIVE) == digests[ArmName.CANDIDATE]


def verdict(paired: PairedFigures, arms: Sequence[ArmFigures]) -> str:
    """Return the result of the comparison in one line."""
    reference = paired.reference.value.lower()
    rows = paired.both_passed + paired.gained + paired.lost + paired.neither_passed
    if is_live(arms):
        result = "The candidate is the live adapter itself"
    elif paired.low > 0:
        result = f"The candidate is better than {reference}"
    elif paired.high < 0:
        result = f"The candidate is worse than {reference}"
    else:
        result = f"No difference between candidate and {reference} is shown"
    interval = interval_text(paired.low, paired.high)
    return (
        f"{result}: {paired.difference * 100:+.1f} points ({interval}) on {number_of(rows, 'row')}, "
        f"{paired.gained} gained and {paired.lost} lost."
    )


def prompts(samples: Sequence[ScoredAnswer]) -> list[Prompt]:
    """Return a prompt for each row that has sampled answers, in order of first appearance."""
    rows: dict[str, EvaluationRow] = {}
    outcomes: dict[str, list[bool]] = {}
    for scored in samples:
        rows.setdefault(scored.row.id, scored.row)
        outcomes.setdefault(scored.row.id, []).append(scored.passed)
    return [Prompt(rows[id_].cluster_key, sum(passed), len(passed)) for id_, passed in outcomes.items()]


def in_status(figures: EvaluationReport) -> Mapping[ArmName, list[PassAtK]]:
    """Return each arm's pass@k in the form of the status: strings with four decimals."""
    return {
        arm.name: [
            PassAtK(k=e.k, rate=f"{e.rate:.4f}", low=f"{e.low:.4f}", high=f"{e.high:.4f}") for e in arm.pass_at_k
        ]
        for arm in figures.arms
    }
