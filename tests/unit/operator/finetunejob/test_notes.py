from __future__ import annotations

import pytest

from loraform_api.finetunejob_status import AttemptStatus, FineTuneJobStatus, StageStatus
from loraform_api.meta import Condition
from loraform_api.names import RunStage
from loraform_operator.finetunejob.notes import transitions


def ready(reason: str, phase: str, status: str = "False", **more: object) -> FineTuneJobStatus:
    condition = Condition(type="Ready", status=status, reason=reason, message="m", last_transition_time="t")  # type: ignore[arg-type]
    return FineTuneJobStatus(conditions=[condition], phase=phase, **more)  # type: ignore[arg-type]


ATTEMPT = AttemptStatus(stage=RunStage.TRAIN, pod="p", reason="OutOfMemory", message="too big", finish_time="t")
STAGE = StageStatus(name=RunStage.PREPARE, start_time="t", completion_time="t", summary="100 rows")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
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
def test_events_of_a_status_change(
    old: FineTuneJobStatus, new: FineTuneJobStatus, expected: list[tuple[str, str]]
) -> None:
    assert [(n.type, n.reason) for n in transitions(old, new)] == expected
