"""Reconciles one FineTuneJob: observe, derive the status, plan, apply, write the status, post events."""

from __future__ import annotations

from dataclasses import replace

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_operator.context import Context, Key
from loraform_operator.finetunejob.notes import transitions
from loraform_operator.finetunejob.observe import observe
from loraform_operator.finetunejob.plan import plan
from loraform_operator.finetunejob.polling import poll_seconds, progress_pause
from loraform_operator.finetunejob.status import derive_status, finished, invalid_spec_status
from loraform_operator.kube import errors
from loraform_operator.kube.apply import carry_out
from loraform_operator.kube.resource import read_resource, read_status, write_status
from loraform_operator.queue import GONE


async def reconcile(ctx: Context, key: Key) -> float | None:
    """Bring the run one step further; returns the seconds until the next poll, None for the usual resync."""
    body = await ctx.current(key)
    if body is None:
        ctx.progress.forget((key.namespace, key.name))
        return GONE
    now = ctx.clock()
    try:
        job = read_resource(FineTuneJob, body)
        observed = await observe(ctx, key, job, now)
    except errors.InvalidSpec as error:
        old = read_status(FineTuneJobStatus, body)
        if finished(old):
            return None
        status = invalid_spec_status(old, body["metadata"]["generation"], str(error), now)
        await write_status(ctx.cluster, ctx.events, body, old, status, transitions(old, status))
        return None
    status = derive_status(observed, ctx.settings, now)
    try:
        desired = plan(observed, status, ctx.settings, ctx.endpoint, now)
        await carry_out(ctx.cluster, desired, observed.existing)
    except errors.REFUSALS as error:
        observed = replace(observed, refused=str(error))
        status = derive_status(observed, ctx.settings, now)
    pause = progress_pause(job.status, status, ctx.settings.progress_seconds, now)
    if pause == 0:
        await write_status(ctx.cluster, ctx.events, body, job.status, status, transitions(job.status, status))
    if finished(status) or len(status.stages) > len(job.status.stages):
        ctx.progress.forget((key.namespace, key.name))
    return poll_seconds(observed, status, pause, now)
