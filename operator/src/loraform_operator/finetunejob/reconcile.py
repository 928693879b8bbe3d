"""Reconciles one FineTuneJob: observe, derive the status, plan, apply, write the status, post events."""

from __future__ import annotations

import math
from dataclasses import replace

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_operator.context import Context, Key
from loraform_operator.finetunejob.notes import transitions
from loraform_operator.finetunejob.observe import observe
from loraform_operator.finetunejob.plan import plan
from loraform_operator.finetunejob.polling import due_seconds, progress_pause, waiting_for
from loraform_operator.finetunejob.status import derive_status, finished, invalid_spec_status
from loraform_operator.kube import errors
from loraform_operator.kube.apply import carry_out
from loraform_operator.kube.resource import read_resource, read_status, write_status
from loraform_operator.queue import GONE


async def reconcile(ctx: Context, key: Key) -> float | None:
    """Bring the run one step further; returns the seconds until something is due, None for the usual resync.

    Raises `Waiting` when the run waits for what no watch reports.
    """
    body = await ctx.current(key)
    if body is None:
        ctx.progress.forget((key.namespace, key.name))
        ctx.waits.forget(key)
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
    due, cause = due_seconds(observed, status, pause, now), waiting_for(observed, status)
    if cause:
        raise errors.Waiting(cause, min(ctx.waits.pause(key, cause, now), due or math.inf))
    ctx.waits.forget(key)
    return due
