"""State, progress and changes of objects as text."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import IaCModel
from loraform_cli.object_state import (
    ObjectState,
    changes,
    minutes,
    progress_text,
    running_stage,
    stage_seconds,
    state_of,
)

from .conftest import TIME, condition

Job = Callable[..., FineTuneJob]
PREPARED = {"name": "prepare", "startTime": TIME, "completionTime": "2026-11-24T00:01:05Z", "summary": "1900 rows"}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], ObjectState.RUNNING),
        ([condition("Succeeded", "Unknown"), condition("Reconciling", "True")], ObjectState.RUNNING),
        ([condition("Succeeded", "True"), condition("Ready", "True")], ObjectState.SUCCESS),
        ([condition("Succeeded", "True"), condition("Reconciling", "True")], ObjectState.RUNNING),
        ([condition("Succeeded", "False"), condition("Stalled", "True")], ObjectState.FAILURE),
    ],
)
def test_a_jobs_state_follows_its_conditions(make_job: Job, conditions: list[object], expected: ObjectState) -> None:
    assert state_of(make_job(conditions=conditions)) is expected


def test_a_status_of_an_older_generation_is_running(make_job: Job) -> None:
    job = make_job(generation=2, observed=1, conditions=[condition("Succeeded", "True")])
    assert state_of(job) is ObjectState.RUNNING


def test_a_model_is_done_when_it_is_ready(make_model: Callable[..., IaCModel]) -> None:
    assert state_of(make_model(conditions=[condition("Ready", "True")])) is ObjectState.SUCCESS
    assert state_of(make_model(conditions=[condition("Ready", "False")])) is ObjectState.RUNNING


def test_the_running_stage_is_the_first_without_a_result(make_job: Job) -> None:
    assert running_stage(make_job()) == "prepare"
    assert running_stage(make_job(stages=[PREPARED])) == "train"
    assert running_stage(make_job(conditions=[condition("Stalled", "True")])) is None


def test_progress_is_shown_in_a_few_words(make_job: Job) -> None:
    values = {"loss": "0.041", "learning_rate": "0.003", "step": "75", "total_steps": "120"}
    metrics = [{"name": name, "value": value} for name, value in values.items()]
    job = make_job(progress={"percentage": 63, "estimatedRemainingSeconds": 20, "metrics": metrics})
    assert progress_text(job) == "63 %  step 75 of 120  loss 0.041  0:20 left"
    assert progress_text(make_job()) == ""


def test_a_finished_stage_has_its_seconds(make_job: Job) -> None:
    assert stage_seconds(make_job(stages=[PREPARED])) == {"prepare": 65.0}
    assert minutes(65.9) == "1:05"


def test_each_change_is_one_line_and_no_change_is_none(make_job: Job) -> None:
    first = make_job(conditions=[condition("Succeeded", "Unknown", "Preparing", "reading")])
    second = make_job(
        stages=[PREPARED],
        attempts=[{"stage": "train", "pod": "p-1", "reason": "OutOfMemory", "hint": "Raise it.", "finishTime": TIME}],
        progress={"percentage": 41},
        conditions=[condition("Succeeded", "Unknown", "Training", "step 3")],
    )
    assert list(changes(None, first)) == ["Succeeded=Unknown (Preparing): reading"]
    assert list(changes(first, first)) == []
    assert list(changes(first, second)) == [
        "prepare finished in 1:05: 1900 rows",
        "train pod p-1 ended: OutOfMemory - Raise it.",
        "train 41 %",
        "Succeeded=Unknown (Training): step 3",
    ]


def test_progress_is_one_line_for_each_tenth(make_job: Job) -> None:
    jobs = [make_job(stages=[PREPARED], progress={"percentage": percentage}) for percentage in range(100)]
    told = [line for before, now in pairwise(jobs) for line in changes(before, now)]
    assert len(told) == 9


def test_a_removed_condition_is_one_line(make_job: Job) -> None:
    before = make_job(conditions=[condition("Reconciling", "True")])
    assert list(changes(before, make_job())) == ["condition Reconciling was removed"]


def test_conditions_with_one_reason_and_message_are_one_line(make_job: Job) -> None:
    shared = [condition(type_, "Unknown", "Pending", "waiting") for type_ in ("Ready", "Succeeded")]
    told = list(changes(None, make_job(conditions=[*shared, condition("DatasetReady", "True", "Prepared", "done")])))
    assert told == ["Ready=Unknown Succeeded=Unknown (Pending): waiting", "DatasetReady=True (Prepared): done"]
