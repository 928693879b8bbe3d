"""Reading a custom resource and writing its status, for both kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_api.iacmodel import IaCModel, IaCModelStatus
from loraform_api.meta import Condition, ConditionStatus, merge_conditions, timestamp
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.errors import InvalidSpec, first_error
from loraform_operator.kube.events import Note, Recorder
from loraform_operator.kube.objects import Object

Resource = TypeVar("Resource", FineTuneJob, IaCModel)
Status = TypeVar("Status", FineTuneJobStatus, IaCModelStatus)
ConditionRow = tuple[str, ConditionStatus, str, str]
"""Type, status, reason and message of a condition."""
MESSAGE_LIMIT = 4096
"""Characters that the message of a condition may have."""


def read_resource(model: type[Resource], body: Object) -> Resource:
    """Parse a custom resource; raises `InvalidSpec` that names the first invalid field."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise InvalidSpec(first_error(error)) from error


def read_status(model: type[Status], body: Object) -> Status:
    """Parse the status of a custom resource; an unreadable one counts as empty."""
    try:
        return model.model_validate(body.get("status") or {})
    except ValidationError:
        return model()


def conditions_of(rows: Iterable[ConditionRow], generation: int, now: datetime) -> list[Condition]:
    """Return the conditions of `rows` as observed at `generation`."""
    return [
        Condition(
            type=str(type_),
            status=status.value,
            reason=reason,
            message=message[:MESSAGE_LIMIT],
            observed_generation=generation,
            last_transition_time=timestamp(now),
        )
        for type_, status, reason, message in rows
    ]


def invalid_status(old: Status, generation: int, message: str, others: Sequence[Condition], now: datetime) -> Status:
    """Return `old` for an object whose spec cannot be used: not Ready, Stalled, and the kind's `others`."""
    rows = [
        ("Ready", ConditionStatus.FALSE, "InvalidSpec", message),
        ("Stalled", ConditionStatus.TRUE, "InvalidSpec", message),
    ]
    ready, stalled = conditions_of(rows, generation, now)
    conditions = merge_conditions(old.conditions, [ready, *others, stalled])
    return old.model_copy(update={"observed_generation": generation, "conditions": conditions})


async def write_status(
    cluster: Cluster, events: Recorder, body: Object, old: Status, new: Status, notes: Iterable[Note]
) -> None:
    """Write a changed status, then post the events of the change; raises `Conflict` when `body` is outdated."""
    if new == old:
        return
    await cluster.write_status(body, new.model_dump(mode="json", by_alias=True, exclude_none=True))
    for note in notes:
        await events.record(body, note)
