"""Derives the status of a run from what was observed. Pure: only `derive_status` decides it, `now` is a parameter.

state      Ready    Succeeded  DatasetReady               Reconciling  Stalled
running    False    Unknown    Unknown, True once prepared   True        -
waiting    False    Unknown    Unknown, True once prepared   True        -
blocked    False    Unknown    Unknown, True once prepared    -         True     (only the user can help)
succeeded  True     True       True                           -          -
failed     False    False      True once prepared, else False  -         True     (for good)
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import (
    AttemptStatus,
    ConditionType,
    FineTuneJobStatus,
    ImageStatus,
    Metric,
    ProgressStatus,
    ProvenanceStatus,
    StageStatus,
)
from loraform_api.meta import Condition, ConditionStatus, find_condition, merge_conditions, timestamp
from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_operator.finetunejob.observe import Observed, run_config_name
from loraform_operator.finetunejob.policies import Failure, first_block, first_failure
from loraform_operator.finetunejob.reports import (
    completion_index,
    failed_attempt,
    finish_time,
    lost_attempt,
    read_report,
    stage_of,
)
from loraform_operator.finetunejob.results import results_of
from loraform_operator.finetunejob.spec_policies import Block
from loraform_operator.kube.objects import condition_of
from loraform_operator.kube.resource import conditions_of, invalid_status
from loraform_operator.pods.status import phase
from loraform_operator.pods.text import clean
from loraform_operator.settings import Settings

ATTEMPTS_KEPT = 30
PHASES = {
    RunStage.PREPARE: "Preparing",
    RunStage.TRAIN: "Training",
    RunStage.BASELINE: "Evaluating",
    RunStage.EVALUATE: "Evaluating",
    RunStage.PUBLISH: "Publishing",
}
SUCCEEDED, FAILED, PENDING = "Succeeded", "Failed", "Pending"


def derive_status(observed: Observed, settings: Settings, now: datetime) -> FineTuneJobStatus:
    """Return the status that the run should have now."""
    if finished(observed.job.status):
        return observed.job.status.model_copy(update={"observed_generation": observed.job.metadata.generation})
    status = _record_attempts(_with_provenance(observed.job.status, observed), observed)
    status, lost = _record_stage(status, observed, now)
    failure = first_failure(observed, status, now) if observed.job.spec.next_stage(status) else None
    block = None if failure or lost else first_block(observed, settings, now)
    new_phase = _phase(status, observed, failure)
    updates = {
        "observed_generation": observed.job.metadata.generation,
        "phase": new_phase,
        "progress": _progress(status, observed, new_phase),
        "conditions": merge_conditions(
            observed.job.status.conditions, _conditions(status, observed.job, new_phase, block, failure, now)
        ),
    }
    return status.model_copy(update=updates)


def invalid_spec_status(old: FineTuneJobStatus, generation: int, message: str, now: datetime) -> FineTuneJobStatus:
    """Return the status of an object whose spec cannot be read."""
    unknown = (ConditionType.SUCCEEDED, ConditionType.DATASET_READY)
    rows = [(type_, ConditionStatus.UNKNOWN, "InvalidSpec", "the run has not started") for type_ in unknown]
    status = invalid_status(old, generation, message, conditions_of(rows, generation, now), now)
    return status.model_copy(update={"phase": PENDING})


def finished(status: FineTuneJobStatus) -> bool:
    """Say whether the run has succeeded or failed; both are final."""
    succeeded = find_condition(status.conditions, ConditionType.SUCCEEDED)
    return succeeded is not None and succeeded.status != "Unknown"


def failed(status: FineTuneJobStatus) -> bool:
    """Say whether the run has failed for good."""
    succeeded = find_condition(status.conditions, ConditionType.SUCCEEDED)
    return succeeded is not None and succeeded.status == "False"


def _with_provenance(status: FineTuneJobStatus, observed: Observed) -> FineTuneJobStatus:
    if observed.run is None or status.provenance is not None:
        return status
    images = observed.run.config.images
    provenance = ProvenanceStatus(
        run_config=run_config_name(observed.job),
        images=[ImageStatus(name=name, image=image) for name, image in sorted(images.items())],
        engine_dtype=observed.run.facts.engine.dtype,
    )
    return status.model_copy(update={"provenance": provenance})


def _record_attempts(status: FineTuneJobStatus, observed: Observed) -> FineTuneJobStatus:
    known = {a.pod for a in status.attempts}
    ended = (p for p in observed.pods if phase(p) == "Failed" and p["metadata"]["name"] not in known)
    return _with_attempts(status, [failed_attempt(p) for p in ended])


def _with_attempts(status: FineTuneJobStatus, new: list[AttemptStatus]) -> FineTuneJobStatus:
    if not new:
        return status
    attempts = sorted([*status.attempts, *new], key=lambda a: (a.finish_time, a.pod))
    return status.model_copy(update={"attempts": attempts[-ATTEMPTS_KEPT:]})


def _record_stage(status: FineTuneJobStatus, observed: Observed, now: datetime) -> tuple[FineTuneJobStatus, bool]:
    """Record the current stage when its Job is complete; the second value is True when its report is lost."""
    job = observed.stage_job
    complete = job and condition_of(job, "Complete")
    if not job or not complete:
        return status, False
    stage = stage_of(job)
    pod = next(
        (p for p in sorted(observed.pods, key=completion_index) if phase(p) == "Succeeded" and stage_of(p) == stage),
        None,
    )
    report = read_report(pod) if pod else None
    results = _results(status, report) if report else None
    if report is None or results is None:
        ended = finish_time(pod) if pod else timestamp(now)
        return _with_attempts(status, [lost_attempt(job, pod, ended)]), True
    entry = StageStatus(
        name=stage,
        start_time=job["status"].get("startTime") or job["metadata"]["creationTimestamp"],
        completion_time=job["status"].get("completionTime") or complete["lastTransitionTime"],
        summary=clean(report.message)[:512],
    )
    return status.model_copy(update={**results, "stages": [*status.stages, entry]}), False


def _results(status: FineTuneJobStatus, report: StageReport) -> dict[str, Any] | None:
    try:
        return results_of(status, report)
    except ValidationError:  # readable, but a value is out of the bounds of status
        return None


def _phase(status: FineTuneJobStatus, observed: Observed, failure: Failure | None) -> str:
    stage = observed.job.spec.next_stage(status)
    if failure is not None:
        return FAILED
    if stage is None:
        return SUCCEEDED
    running = any(phase(p) == "Running" for p in observed.pods)
    return PHASES[stage] if status.stages or running or observed.job.status.phase == PHASES[stage] else PENDING


def _progress(status: FineTuneJobStatus, observed: Observed, new_phase: str) -> ProgressStatus | None:
    stage = observed.job.spec.next_stage(status)
    report = observed.progress
    stage_pods = {p["metadata"]["uid"] for p in observed.pods if stage_of(p) == stage}
    if stage is None or report is None or report.pod_uid not in stage_pods:
        return status.progress if new_phase == observed.job.status.phase else None
    return ProgressStatus(
        percentage=report.status.progress_percentage or 0,
        estimated_remaining_seconds=report.status.estimated_remaining_seconds,
        metrics=metrics_of(report.status.metrics),
        last_updated_time=timestamp(report.received),
    )


def metrics_of(entries: list[dict[str, str]]) -> list[Metric]:
    """Return the first twenty valid metrics, with the last value of each name."""
    metrics: dict[str, Metric] = {}
    for entry in entries:
        try:
            metric = Metric.model_validate(entry)
        except ValidationError:
            continue
        metrics[metric.name] = metric
    return list(metrics.values())[:20]


def _conditions(
    status: FineTuneJobStatus,
    job: FineTuneJob,
    new_phase: str,
    block: Block | None,
    failure: Failure | None,
    now: datetime,
) -> list[Condition]:
    prepared = any(s.name is RunStage.PREPARE for s in status.stages)
    false, true, unknown = ConditionStatus.FALSE, ConditionStatus.TRUE, ConditionStatus.UNKNOWN
    dataset = (ConditionType.DATASET_READY, true, "Prepared", _summary(status, RunStage.PREPARE))
    if new_phase == SUCCEEDED:
        done = _summary(status, RunStage.PUBLISH)
        rows = [(ConditionType.READY, true, SUCCEEDED, done), (ConditionType.SUCCEEDED, true, SUCCEEDED, done), dataset]
    elif failure is not None:
        cause = (failure.reason.value, failure.message)
        rows = [(ConditionType.READY, false, *cause), (ConditionType.SUCCEEDED, false, *cause)]
        rows.append(dataset if prepared else (ConditionType.DATASET_READY, false, *cause))
        rows.append((ConditionType.STALLED, true, *cause))
    else:
        running = (new_phase, _running_message(status, job.spec.next_stage(status)))
        cause = (block.reason, block.message) if block else running
        rows = [(ConditionType.READY, false, *cause), (ConditionType.SUCCEEDED, unknown, *cause)]
        rows.append(dataset if prepared else (ConditionType.DATASET_READY, unknown, *cause))
        stuck = block is not None and block.stalled
        rows.append((ConditionType.STALLED if stuck else ConditionType.RECONCILING, true, *cause))
    return conditions_of(rows, job.metadata.generation, now)


def _running_message(status: FineTuneJobStatus, stage: RunStage | None) -> str:
    done = ", ".join(s.name for s in status.stages)
    return f"running stage {stage}" + (f" (done: {done})" if done else "")


def _summary(status: FineTuneJobStatus, stage: RunStage) -> str:
    return next((s.summary for s in status.stages if s.name is stage), "")
