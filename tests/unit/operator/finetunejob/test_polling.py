from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus, ProgressStatus
from loraform_api.meta import parse_timestamp, timestamp
from loraform_operator.finetunejob.observe import Observed
from loraform_operator.finetunejob.polling import poll_seconds, progress_pause

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
    ("case", "seconds"), [("45-rank-over-the-model", None), ("04-missing-model", 10), ("10-unschedulable", 10)]
)
def test_a_run_that_only_an_edit_can_help_is_not_polled(case: str, seconds: int | None) -> None:
    """An edit of its IaCModel wakes it; what is missing, or has no room, may come without an event."""
    job, status = (
        model.model_validate(yaml.safe_load((CASES / case / file).read_text()))
        for model, file in ((FineTuneJob, "input.yaml"), (FineTuneJobStatus, "status.yaml"))
    )
    assert poll_seconds(Observed(job), status, 0, NOW) == seconds
