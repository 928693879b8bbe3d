"""Events for a status change. Pure; posted after the status was written."""

from __future__ import annotations

from loraform_api.finetunejob_status import AttemptStatus, ConditionType, FineTuneJobStatus
from loraform_api.meta import find_condition
from loraform_operator.finetunejob.status import FAILED, SUCCEEDED
from loraform_operator.kube.events import Note


def transitions(old: FineTuneJobStatus, new: FineTuneJobStatus) -> list[Note]:
    """Return the events for the change from `old` to `new`, in order."""
    notes = [Note(a.reason, f"{a.stage} pod {a.pod}: {a.message}", "Warning") for a in _added(old, new)]
    done = {s.name for s in old.stages}
    notes += [Note(f"{s.name.capitalize()}Finished", s.summary) for s in new.stages if s.name not in done]
    before, after = (find_condition(s.conditions, ConditionType.READY) for s in (old, new))
    if after is None or (before is not None and before.reason == after.reason):
        return notes
    if new.phase == SUCCEEDED:
        notes.append(Note(SUCCEEDED, after.message))
    elif new.phase == FAILED:
        notes.append(Note("RunFailed", f"{after.reason}: {after.message}", "Warning"))
    elif after.reason == new.phase:
        notes.append(Note(after.reason, after.message))
    else:
        notes.append(Note(after.reason, after.message, "Warning"))
    return notes


def _added(old: FineTuneJobStatus, new: FineTuneJobStatus) -> list[AttemptStatus]:
    known = {a.pod for a in old.attempts}
    return [a for a in new.attempts if a.pod not in known]
