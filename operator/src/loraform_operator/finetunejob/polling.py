"""When to reconcile a run again without an event, and how long a change of progress alone may wait. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from loraform_api.finetunejob_status import ConditionType, FineTuneJobStatus
from loraform_api.meta import find_condition, parse_timestamp
from loraform_operator.finetunejob.observe import PODS_EXPECTED_SECONDS, Observed
from loraform_operator.finetunejob.policies import deadline
from loraform_operator.finetunejob.status import PENDING, finished
from loraform_operator.pods.status import phase


def progress_pause(old: FineTuneJobStatus, new: FineTuneJobStatus, interval: float, now: datetime) -> float:
    """Return the seconds until a status that differs in progress alone may be written; 0 to write it now."""
    last_written = old.progress.last_updated_time if old.progress else None
    if new == old or last_written is None or new.model_copy(update={"progress": old.progress}) != old:
        return 0
    return max(0.0, (parse_timestamp(last_written) + timedelta(seconds=interval) - now).total_seconds())


def poll_seconds(observed: Observed, status: FineTuneJobStatus, pause: float, now: datetime) -> float | None:
    """Return the seconds until the next poll; None when watches and the usual resync suffice.

    A run that is stalled waits for an edit of its IaCModel, which wakes it, or for another configuration of the
    operator, which restarts it.
    """
    if finished(status):
        return None
    waits = [pause] if pause else []
    end = deadline(observed)
    if end is not None:
        waits.append(max(1.0, (end - now).total_seconds()))
    pending = any(phase(p) == "Pending" for p in observed.pods)
    if find_condition(status.conditions, ConditionType.STALLED) is None and (
        status.phase == PENDING
        or observed.missing_claims
        or observed.missing_flux
        or observed.refused
        or pending
        or not observed.pods
    ):
        waits.append(PODS_EXPECTED_SECONDS)
    return min(waits, default=None)
