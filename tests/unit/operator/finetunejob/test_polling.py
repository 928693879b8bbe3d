from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus, ProgressStatus
from loraform_api.meta import parse_timestamp, timestamp
from loraform_operator.finetunejob.observe import Observed, without_pod_names
from loraform_operator.finetunejob.polling import due_seconds, progress_pause, waiting_for

CASES = Path(__file__).parents[3] / "cases" / "finetunejob"

NOW = parse_timestamp("2026-11-24T10:00:00Z")


def progress(seconds: int, percentage: int) -> FineTuneJobStatus:
    written = timestamp(NOW + timedelta(seconds=seconds))
    return FineTuneJobStatus(progress=ProgressStatus(percentage=percentage, last_updated_time=written))


def test_a_change_of_progress_alone_is_delayed() -> None:
    old, new = progress(0, 10), progress(5, 20)
    assert progress_pause(old, new, 15, NOW + timedelta(seconds=5)) == 10
    assert progress_pause(old, new, 15, NOW + timedelta(seconds=16)) == 0
    assert progress_pause(old, old, 15, NOW) == 0
    assert progress_pause(FineTuneJobStatus(), new, 15, NOW) == 0
    moved = new.model_copy(update={"phase": "Evaluating"})
    assert progress_pause(old, moved, 15, NOW + timedelta(seconds=5)) == 0


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        ("45-rank-over-the-model", ""),
        ("26-succeeded-run-is-cleared", ""),
        ("04-missing-model", "generation 1, MissingReference: spec.modelRef: IaCModel `terraform` does not exist"),
        ("10-unschedulable", "generation 1, Unschedulable: "),
    ],
)
def test_what_may_come_without_an_event_is_waited_for(case: str, cause: str) -> None:
    """An edit of its IaCModel wakes a stalled run, and nothing a finished one."""
    job, status = (
        model.model_validate(yaml.safe_load((CASES / case / file).read_text()))
        for model, file in ((FineTuneJob, "input.yaml"), (FineTuneJobStatus, "status.yaml"))
    )
    waits_for = waiting_for(Observed(job), status)
    assert waits_for.startswith(cause)
    assert bool(waits_for) == bool(cause)


def test_a_delayed_write_and_the_deadline_are_due() -> None:
    job = FineTuneJob.model_validate(yaml.safe_load((CASES / "01-first-visit" / "input.yaml").read_text()))
    assert due_seconds(Observed(job), FineTuneJobStatus(), 0, NOW) is None
    assert due_seconds(Observed(job), FineTuneJobStatus(), 7, NOW) == 7
    created = parse_timestamp(job.metadata.creation_timestamp)
    limited = job.model_copy(update={"spec": job.spec.model_copy(update={"active_deadline_seconds": 600})})
    assert due_seconds(Observed(limited), FineTuneJobStatus(), 700, created) == 600
    assert due_seconds(Observed(limited), FineTuneJobStatus(), 0, created + timedelta(seconds=700)) == 1


def test_each_attempt_of_a_refused_pod_says_the_same() -> None:
    refused = 'pods "style-train-{}" is forbidden: exceeded quota: team-a'
    names = [refused.format(suffix) for suffix in ("x7k2p", "0-b4c5d", "11-zzzzz")]
    assert {without_pod_names(f"Error creating: {name}", "style-train") for name in names} == {
        'Error creating: pods "style-train" is forbidden: exceeded quota: team-a'
    }
    other = 'serviceaccount "style" not found'
    assert without_pod_names(other, "style-train") == other
