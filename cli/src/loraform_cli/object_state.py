"""State, progress and changes of a FineTuneJob or an IaCModel as text; pure functions over the API's models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import AttemptStatus
from loraform_api.iacmodel import IaCModel
from loraform_api.meta import Condition, find_condition, parse_timestamp
from loraform_api.names import RunStage


class ObjectState(Enum):
    """Whether an object has succeeded, failed, or is still changing."""

    SUCCESS = "success"
    FAILURE = "failure"
    RUNNING = "running"


def state_of(resource: FineTuneJob | IaCModel) -> ObjectState:
    """Return the state of `resource` by its kstatus conditions; the phase is ignored."""
    if resource.status.observed_generation != resource.metadata.generation:
        return ObjectState.RUNNING
    if is_true(resource, "Stalled"):
        return ObjectState.FAILURE
    goal = "Succeeded" if isinstance(resource, FineTuneJob) else "Ready"
    if is_true(resource, goal) and not is_true(resource, "Reconciling"):
        return ObjectState.SUCCESS
    return ObjectState.RUNNING


def is_true(resource: FineTuneJob | IaCModel, condition: str) -> bool:
    """Return whether a condition is present and True."""
    match = find_condition(resource.status.conditions, condition)
    return match is not None and match.status == "True"


def running_stage(job: FineTuneJob) -> RunStage | None:
    """Return the first stage without a result; None when all have one or the job has failed."""
    return None if state_of(job) is ObjectState.FAILURE else job.spec.next_stage(job.status)


def progress_text(job: FineTuneJob) -> str:
    """Return the running stage's progress as short text; empty until its pod has reported."""
    progress = job.status.progress
    if progress is None:
        return ""
    metrics = {metric.name: metric.value for metric in progress.metrics}
    step = f"step {metrics['step']} of {metrics['total_steps']}" if {"step", "total_steps"} <= metrics.keys() else ""
    loss = f"loss {metrics['loss']}" if "loss" in metrics else ""
    left = progress.estimated_remaining_seconds
    eta = "" if left is None else f"{minutes(left)} left"
    return "  ".join(part for part in (f"{progress.percentage} %", step, loss, eta) if part)


def stage_seconds(job: FineTuneJob) -> dict[str, float]:
    """Return the seconds of each finished stage, by name."""
    return {
        stage.name.value: (parse_timestamp(stage.completion_time) - parse_timestamp(stage.start_time)).total_seconds()
        for stage in job.status.stages
    }


def minutes(seconds: float) -> str:
    """Format a duration as `m:ss`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def changes(before: FineTuneJob | IaCModel | None, now: FineTuneJob | IaCModel) -> Iterator[str]:
    """Yield a log line for each change from `before` to `now`."""
    known = {c.type: c for c in before.status.conditions} if before else {}
    if isinstance(now, FineTuneJob):
        yield from _job_changes(before if isinstance(before, FineTuneJob) else None, now)
    new = [c for c in now.status.conditions if _shown(c) != _shown(known.get(c.type))]
    yield from condition_lines(new)
    removed = known.keys() - {c.type for c in now.status.conditions}
    yield from (f"condition {type_} was removed" for type_ in sorted(removed))


def condition_lines(conditions: Sequence[Condition]) -> list[str]:
    """Return conditions as lines; those with the same reason and message share one."""
    groups: dict[tuple[str, str], list[str]] = {}
    for condition in conditions:
        statuses = groups.setdefault((condition.reason, condition.message), [])
        statuses.append(f"{condition.type}={condition.status}")
    return [f"{' '.join(statuses)} ({reason}): {message}" for (reason, message), statuses in groups.items()]


def _shown(condition: Condition | None) -> tuple[str, str, str] | None:
    """Return the parts of a condition that are shown."""
    return None if condition is None else (condition.status, condition.reason, condition.message)


def _job_changes(before: FineTuneJob | None, now: FineTuneJob) -> Iterator[str]:
    finished = {stage.name for stage in before.status.stages} if before else set()
    seconds = stage_seconds(now)
    for stage in now.status.stages:
        if stage.name not in finished:
            yield f"{stage.name} finished in {minutes(seconds[stage.name])}: {stage.summary}"
    attempts = {attempt.pod for attempt in before.status.attempts} if before else set()
    for attempt in now.status.attempts:
        if attempt.pod not in attempts:
            yield f"{attempt.stage} pod {attempt.pod} ended: {attempt_text(attempt)}"
    tenth = _tenth(now)
    if tenth is not None and tenth != (_tenth(before) if before else None):
        yield f"{running_stage(now)} {progress_text(now)}"


def attempt_text(attempt: AttemptStatus) -> str:
    """Return why a pod did not finish its stage, and what to do."""
    cause = ": ".join(part for part in (attempt.reason, attempt.message) if part)
    return f"{cause} - {attempt.hint}" if attempt.hint else cause


def _tenth(job: FineTuneJob) -> tuple[RunStage | None, int] | None:
    """Return stage and progress in tenths, so that a log has at most ten lines per stage."""
    progress = job.status.progress
    return None if progress is None else (running_stage(job), progress.percentage // 10)
