"""Writes the evaluation's results: `reports/evaluation.json` and `reports/evaluation.html`."""

from __future__ import annotations

from loraform_api.evaluation import LossPoint
from loraform_api.finetunejob_status import Forgetting
from loraform_api.names import RunStage
from loraform_api.run import EvaluateResult
from loraform_engine.proof import adapter_folder_digest
from loraform_trainer.evaluate import figures
from loraform_trainer.evaluate.breakdown import ByArm
from loraform_trainer.evaluate.html import page
from loraform_trainer.runtime import stage_report
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.files import read_jsonl, write_atomic
from loraform_trainer.runtime.paths import Paths


def write(context: Context, result: EvaluateResult, by_arm: ByArm, samples: ByArm) -> EvaluateResult:
    """Write report and page; return `result` with the pass@k that the status shows."""
    report = figures.report(context.config, result, by_arm, samples, training_log(context.paths))
    report = report.model_copy(update={"forgetting": _forgetting(context.paths)})
    write_atomic(context.paths.evaluation_report, report.model_dump_json(by_alias=True, exclude_none=True, indent=2))
    write_atomic(context.paths.evaluation_page, page.render(report, by_arm))
    shown = figures.in_status(report)
    return result.model_copy(
        update={"arms": [arm.model_copy(update={"pass_at_k": shown[arm.name]}) for arm in result.arms]}
    )


def _forgetting(paths: Paths) -> Forgetting | None:
    """Return stage train's measurement, if the candidate is the adapter that train measured; else None."""
    trained = stage_report.read(paths, RunStage.TRAIN)
    if trained is None or trained.train is None or trained.train.adapter_digest != adapter_folder_digest(paths.adapter):
        return None
    return trained.train.forgetting


def training_log(paths: Paths) -> list[LossPoint]:
    """Return the training log of stage train; empty if there is none."""
    if not paths.training_log.is_file():
        return []
    return [LossPoint.model_validate(line) for line in read_jsonl(paths.training_log)]
