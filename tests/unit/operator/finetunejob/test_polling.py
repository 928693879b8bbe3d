from __future__ import annotations

from datetime import timedelta

from loraform_api.finetunejob_status import FineTuneJobStatus, ProgressStatus
from loraform_api.meta import parse_timestamp, timestamp
from loraform_operator.finetunejob.polling import progress_pause

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
