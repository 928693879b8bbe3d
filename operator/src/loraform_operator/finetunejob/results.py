"""Turns the report of a stage into fields of the status. Pure."""

from __future__ import annotations

from typing import Any

from loraform_api.finetunejob_status import (
    ArmStatus,
    ArtifactStatus,
    DatasetStatus,
    EvaluationStatus,
    FilterCount,
    FineTuneJobStatus,
    Selection,
    StageRate,
    TrainingStatus,
)
from loraform_api.meta import PromptTemplate
from loraform_api.run import ArmResult, EvaluateResult, StageReport, TrainResult

DIGITS = 4


def results_of(status: FineTuneJobStatus, report: StageReport) -> dict[str, Any]:
    """Return the changed fields of `status`; raises pydantic's ValidationError when a value is out of bounds."""
    changes: dict[str, Any] = {}
    provenance = status.provenance
    if report.prepare is not None:
        rows = [FilterCount(name=name, rows=count) for name, count in report.prepare.rows.items()]
        changes["dataset"] = DatasetStatus(
            digest=report.prepare.dataset_digest,
            rows=rows,
            tokens=report.prepare.tokens,
            warnings=report.prepare.warnings,
            cached=report.prepare.cached,
        )
        facts = {"base_digest": report.prepare.base_digest, "template_hash": report.prepare.template_hash}
        changes["provenance"] = provenance and provenance.model_copy(update=facts)
    if report.train is not None:
        changes["forgetting"] = report.train.forgetting
        changes["training"] = _training(report.train)
    if report.evaluate is not None:
        changes["evaluation"] = _evaluation(report.evaluate)
        toolchain = {"toolchain": report.evaluate.toolchain[:512]}
        changes["provenance"] = provenance and provenance.model_copy(update=toolchain)
    if report.publish is not None:
        published = report.publish
        changes["artifact"] = ArtifactStatus(
            uri=published.uri, digest=published.digest, size_bytes=published.size_bytes
        )
    return changes


def _training(result: TrainResult) -> TrainingStatus:
    return TrainingStatus.model_validate(result.model_dump(include=set(TrainingStatus.model_fields)))


def _evaluation(result: EvaluateResult) -> EvaluationStatus:
    return EvaluationStatus(
        selection=[Selection.model_validate(score.model_dump()) for score in result.selection],
        arms=[_arm(arm) for arm in result.arms],
        paired=result.paired,
        live_digest=result.live_digest,
        suite_digest=result.suite_digest,
        parity_max_difference=result.parity_max_difference,
        reflexion=result.reflexion,
    )


def _arm(arm: ArmResult) -> ArmStatus:
    return ArmStatus(
        name=arm.name,
        prompt_template=arm.prompt_template or PromptTemplate.INSTRUCTION,
        rows=arm.rows,
        rates=[
            StageRate(stage=stage, raw=rate(count.raw, count.rows), served=rate(count.served, count.rows))
            for stage, count in arm.counts.items()
        ],
        truncated=arm.truncated,
        inconclusive=arm.inconclusive,
        hallucination_rate=rate(arm.hallucinated, arm.rows),
        policy_lapses=arm.policy_lapses,
        pass_at_k=arm.pass_at_k,
    )


def rate(passed: int, rows: int) -> str:
    """Return passed / rows as text with four decimals, rounded down so that only `passed == rows` gives 1."""
    scaled = passed * 10**DIGITS // rows if rows else 0
    return f"{scaled // 10**DIGITS}.{scaled % 10**DIGITS:0{DIGITS}d}"
