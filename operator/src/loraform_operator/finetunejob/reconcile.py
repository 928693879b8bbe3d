"""One pass over one FineTuneJob: observe, derive its status, plan, apply, write the status once, tell what happened."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_api.meta import parse_timestamp
from loraform_operator.context import Context, Key
from loraform_operator.finetunejob.notes import transitions
from loraform_operator.finetunejob.observe import PODS_EXPECTED_SECONDS, Object, Observed, observe
from loraform_operator.finetunejob.plan import plan
from loraform_operator.finetunejob.policies import deadline
from loraform_operator.finetunejob.reports import phase
from loraform_operator.finetunejob.status import PENDING, derive_status, finished, invalid_status
from loraform_operator.kube import errors
from loraform_operator.kube.apply import carry_out
from loraform_operator.queue import GONE

REFUSALS = (errors.Forbidden, errors.Invalid, errors.ForeignObject, errors.NotFound)


async def reconcile(ctx: Context, key: Key) -> float | None:
    """Bring the run one step further; returns seconds until the next look, None for the usual resync."""
    body = await ctx.current(key)
    if body is None:
        ctx.progress.forget((key.namespace, key.name))
        return GONE
    now = ctx.clock()
    try:
        job = FineTuneJob.model_validate(body)
    except ValidationError as error:
        await _refuse(ctx, body, error, now)
        return None
    observed = await observe(ctx, key, job, now)
    status = derive_status(observed, ctx.settings, now)
    try:
        wanted = plan(observed, status, ctx.settings, ctx.endpoint, now)
        await carry_out(ctx.cluster, wanted, observed.existing)
    except REFUSALS as error:
        observed = replace(observed, refused=str(error))
        status = derive_status(observed, ctx.settings, now)
    pause = progress_pause(job.status, status, ctx.settings.progress_seconds, now)
    if pause == 0:
        await _write(ctx, body, job.status, status)
    if finished(status) or len(status.stages) > len(job.status.stages):
        ctx.progress.forget((key.namespace, key.name))
    return next_look(observed, status, pause, now)


async def _refuse(ctx: Context, body: Object, error: ValidationError, now: datetime) -> None:
    first = error.errors()[0]
    field = ".".join(str(p) for p in first["loc"])
    try:
        old = FineTuneJobStatus.model_validate(body.get("status") or {})
    except ValidationError:
        old = FineTuneJobStatus()
    status = invalid_status(body["metadata"]["generation"], old, f"{field}: {first['msg']}", now)
    await _write(ctx, body, old, status)


async def _write(ctx: Context, body: Object, old: FineTuneJobStatus, new: FineTuneJobStatus) -> None:
    if new == old:
        return
    await ctx.cluster.write_status(body, new.model_dump(mode="json", by_alias=True, exclude_none=True))
    for note in transitions(old, new):
        await ctx.events.record(body, note)


def progress_pause(old: FineTuneJobStatus, new: FineTuneJobStatus, interval: float, now: datetime) -> float:
    """Return the seconds for which a change that only tells of progress must still wait; 0 to write at once."""
    told = old.progress.last_updated_time if old.progress else None
    if new == old or told is None or new.model_copy(update={"progress": old.progress}) != old:
        return 0
    return max(0.0, (parse_timestamp(told) + timedelta(seconds=interval) - now).total_seconds())


def next_look(observed: Observed, status: FineTuneJobStatus, pause: float, now: datetime) -> float | None:
    """Return the seconds until something may change that no watch tells of; None when there is no such thing."""
    if finished(status):
        return None
    waits = [pause] if pause else []
    end = deadline(observed)
    if end is not None:
        waits.append(max(1.0, (end - now).total_seconds()))
    pending = any(phase(p) == "Pending" for p in observed.pods)
    if (
        status.phase == PENDING
        or observed.missing_claims
        or observed.missing_flux
        or observed.refused
        or pending
        or not observed.pods
    ):
        waits.append(PODS_EXPECTED_SECONDS)
    return min(waits, default=None)
