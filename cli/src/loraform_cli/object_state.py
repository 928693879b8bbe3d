"""Knows how far a FineTuneJob or an IaCModel is, and says it in words; pure functions over the API's models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import AttemptStatus
from loraform_api.iacmodel import IaCModel
from loraform_api.meta import Condition, find_condition, parse_timestamp
from loraform_api.names import RunStage


class ObjectState(Enum):
    """Where an object stands."""

    SUCCESS = "success"
    FAILURE = "failure"
    RUNNING = "running"


def state_of(resource: FineTuneJob | IaCModel) -> ObjectState:
    """Say whether `resource` has reached its end: by the kstatus conditions, never by the phase."""
    if resource.status.observed_generation != resource.metadata.generation:
        return ObjectState.RUNNING
    if is_true(resource, "Stalled"):
        return ObjectState.FAILURE
    goal = "Succeeded" if isinstance(resource, FineTuneJob) else "Ready"
    if is_true(resource, goal) and not is_true(resource, "Reconciling"):
        return ObjectState.SUCCESS
    return ObjectState.RUNNING


def is_true(resource: FineTuneJob | IaCModel, condition: str) -> bool:
    """Say whether the condition is present and True."""
    found = find_condition(resource.status.conditions, condition)
    return found is not None and found.status == "True"


def running_stage(job: FineTuneJob) -> RunStage | None:
    """Return the first stage that has no result yet, None when all have one or the job has failed."""
    return None if state_of(job) is ObjectState.FAILURE else job.spec.next_stage(job.status)


def progress_words(job: FineTuneJob) -> str:
    """Return the running stage's progress in a few words, empty while its pod has reported none."""
    progress = job.status.progress
    if progress is None:
        return ""
    told = {metric.name: metric.value for metric in progress.metrics}
    step = f"step {told['step']} of {told['total_steps']}" if {"step", "total_steps"} <= told.keys() else ""
    loss = f"loss {told['loss']}" if "loss" in told else ""
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
    """Yield a line for whatever a reader of a log wants to know of the way from `before` to `now`."""
    known = {c.type: c for c in before.status.conditions} if before else {}
    if isinstance(now, FineTuneJob):
        yield from _job_changes(before if isinstance(before, FineTuneJob) else None, now)
    new = [c for c in now.status.conditions if _told(c) != _told(known.get(c.type))]
    yield from condition_lines(new)
    gone = known.keys() - {c.type for c in now.status.conditions}
    yield from (f"{type_} is gone" for type_ in sorted(gone))


def condition_lines(conditions: Sequence[Condition]) -> list[str]:
    """Return conditions as text, those of one reason and message in one line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for condition in conditions:
        words = groups.setdefault((condition.reason, condition.message), [])
        words.append(f"{condition.type}={condition.status}")
    return [f"{' '.join(words)} ({reason}): {message}" for (reason, message), words in groups.items()]


def _told(condition: Condition | None) -> tuple[str, str, str] | None:
    """Return what a reader would notice of a condition."""
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
            yield f"{attempt.stage} pod {attempt.pod} ended: {attempt_words(attempt)}"
    tenth = _tenth(now)
    if tenth is not None and tenth != (_tenth(before) if before else None):
        yield f"{running_stage(now)} {progress_words(now)}"


def attempt_words(attempt: AttemptStatus) -> str:
    """Return why a pod did not finish its stage, and what to do."""
    why = ": ".join(part for part in (attempt.reason, attempt.message) if part)
    return f"{why} - {attempt.hint}" if attempt.hint else why


def _tenth(job: FineTuneJob) -> tuple[RunStage | None, int] | None:
    """Return the progress coarsely, so that a log gets ten lines a stage and not a hundred."""
    progress = job.status.progress
    return None if progress is None else (running_stage(job), progress.percentage // 10)
