"""What the golden cases do not show: timing of writes, events of transitions, metrics from strangers, rates."""

from __future__ import annotations

from datetime import timedelta

import pytest

from loraform_api.finetunejob_status import AttemptStatus, FineTuneJobStatus, Metric, ProgressStatus, StageStatus
from loraform_api.meta import Condition, parse_timestamp, timestamp
from loraform_api.names import RunStage
from loraform_operator.finetunejob.notes import transitions
from loraform_operator.finetunejob.reconcile import progress_pause
from loraform_operator.finetunejob.results import rate
from loraform_operator.finetunejob.status import metrics_of

NOW = parse_timestamp("2026-11-24T10:00:00Z")


def progress(seconds: int, percentage: int) -> FineTuneJobStatus:
    told = timestamp(NOW + timedelta(seconds=seconds))
    return FineTuneJobStatus(progress=ProgressStatus(percentage=percentage, last_updated_time=told))


def test_only_progress_waits() -> None:
    old, new = progress(0, 10), progress(5, 20)
    assert progress_pause(old, new, 15, NOW + timedelta(seconds=5)) == 10
    assert progress_pause(old, new, 15, NOW + timedelta(seconds=16)) == 0
    assert progress_pause(old, old, 15, NOW) == 0
    assert progress_pause(FineTuneJobStatus(), new, 15, NOW) == 0
    moved = new.model_copy(update={"phase": "Evaluating"})
    assert progress_pause(old, moved, 15, NOW + timedelta(seconds=5)) == 0


def ready(reason: str, phase: str, status: str = "False", **more: object) -> FineTuneJobStatus:
    condition = Condition(type="Ready", status=status, reason=reason, message="m", last_transition_time="t")  # type: ignore[arg-type]
    return FineTuneJobStatus(conditions=[condition], phase=phase, **more)  # type: ignore[arg-type]


ATTEMPT = AttemptStatus(stage=RunStage.TRAIN, pod="p", reason="OutOfMemory", message="too big", finish_time="t")
STAGE = StageStatus(name=RunStage.PREPARE, start_time="t", completion_time="t", summary="100 rows")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (FineTuneJobStatus(), ready("Pending", "Pending"), [("Normal", "Pending")]),
        (ready("Pending", "Pending"), ready("Pending", "Pending"), []),
        (ready("Pending", "Pending"), ready("Unschedulable", "Pending"), [("Warning", "Unschedulable")]),
        (
            ready("Preparing", "Preparing"),
            ready("Training", "Training", stages=[STAGE]),
            [("Normal", "PrepareFinished"), ("Normal", "Training")],
        ),
        (
            ready("Training", "Training"),
            ready("OutOfMemory", "Failed", attempts=[ATTEMPT]),
            [("Warning", "OutOfMemory"), ("Warning", "RunFailed")],
        ),
        (ready("Publishing", "Publishing"), ready("Succeeded", "Succeeded", "True"), [("Normal", "Succeeded")]),
    ],
)
def test_events(old: FineTuneJobStatus, new: FineTuneJobStatus, told: list[tuple[str, str]]) -> None:
    assert [(n.type, n.reason) for n in transitions(old, new)] == told


def test_metrics_of_strangers() -> None:
    told = [{"name": "loss", "value": "1"}, {"name": "bad name", "value": "1"}, {"name": "loss", "value": "2"}]
    told += [{"value": "1"}, {"name": "long", "value": "1" * 33}]
    assert metrics_of(told) == [Metric(name="loss", value="2")]
    assert len(metrics_of([{"name": f"m{i}", "value": "1"} for i in range(64)])) == 20


@pytest.mark.parametrize(
    ("passed", "rows", "text"),
    [(0, 200, "0.0000"), (190, 200, "0.9500"), (200, 200, "1.0000"), (99999, 100_000, "0.9999"), (0, 0, "0.0000")],
)
def test_only_all_rows_make_a_one(passed: int, rows: int, text: str) -> None:
    assert rate(passed, rows) == text
