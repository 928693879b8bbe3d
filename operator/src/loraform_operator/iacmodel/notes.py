"""Events for a status change. Pure; posted after the status was written."""

from __future__ import annotations

from loraform_api.iacmodel import ConditionType, Decision, IaCModelStatus
from loraform_api.meta import find_condition
from loraform_operator.kube.events import Note


def transitions(old: IaCModelStatus, new: IaCModelStatus) -> list[Note]:
    """Return the events for the change from `old` to `new`, in order."""
    known = {v.version for v in old.versions}
    notes = [
        Note(
            f"Candidate{v.decision.value}",
            f"version {v.version} (job {v.job}): {v.message}",
            "Normal" if v.decision is Decision.ACCEPTED else "Warning",
        )
        for v in reversed(new.versions)
        if v.version not in known
    ]
    before, after = (find_condition(s.conditions, ConditionType.SERVING) for s in (old, new))
    if after is not None and (before is None or (before.reason, old.live_version) != (after.reason, new.live_version)):
        worse = before is not None and before.status == "True" and after.status != "True"
        bad = worse or after.reason in (
            "AdapterNotServable",
            "InvalidSpec",
            "Refused",
            "SecretUnusable",
            "TemplateMismatch",
        )
        notes.append(Note(after.reason, after.message, "Warning" if bad else "Normal"))
    return notes
