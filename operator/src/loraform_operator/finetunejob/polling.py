"""When to reconcile a run again without an event, and how long a change of progress alone may wait. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from loraform_api.finetunejob_status import ConditionType, FineTuneJobStatus
from loraform_api.meta import find_condition, parse_timestamp
from loraform_operator.finetunejob.observe import Observed
from loraform_operator.finetunejob.policies import deadline
from loraform_operator.finetunejob.status import PENDING, finished
from loraform_operator.pods.status import phase


def progress_pause(old: FineTuneJobStatus, new: FineTuneJobStatus, interval: float, now: datetime) -> float:
    """Return the seconds until a status that differs in progress alone may be written; 0 to write it now."""
    last_written = old.progress.last_updated_time if old.progress else None
    if new == old or last_written is None or new.model_copy(update={"progress": old.progress}) != old:
        return 0
    return max(0.0, (parse_timestamp(last_written) + timedelta(seconds=interval) - now).total_seconds())


def due_seconds(observed: Observed, status: FineTuneJobStatus, pause: float, now: datetime) -> float | None:
    """Return the seconds until something is due: the write of a change of progress, or the run's deadline."""
    if finished(status):
        return None
    end = deadline(observed)
    due = [pause] if pause else []
    if end is not None:
        due.append(max(1.0, (end - now).total_seconds()))
    return min(due, default=None)


def waiting_for(observed: Observed, status: FineTuneJobStatus) -> str:
    """Return what the run waits for that no watch reports, empty when watches suffice.

    A user's claim, a Flux source, room in a quota or what admission allows may come without an event of ours, and a pod
    that does not come or does not start says why only after a time. A run that is stalled waits for an edit of its
    IaCModel, which wakes it, or for another configuration of the operator, which restarts it.
    """
    if finished(status) or find_condition(status.conditions, ConditionType.STALLED) is not None:
        return ""
    starting = not observed.pods or any(phase(p) == "Pending" for p in observed.pods)
    missing = observed.missing_claims or observed.missing_flux or observed.refused
    if not (starting or missing or status.phase == PENDING):
        return ""
    ready = find_condition(status.conditions, ConditionType.READY)
    cause = f"{ready.reason}: {ready.message}" if ready else ""
    return f"generation {observed.job.metadata.generation}, {cause}"
