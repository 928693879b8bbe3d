"""Reconciles one IaCModel: observe, decide on candidates, route, plan, apply, write the status, post events."""

from __future__ import annotations

import math
from dataclasses import replace

from loraform_api.iacmodel import IaCModelStatus
from loraform_operator.context import Context, Key
from loraform_operator.iacmodel.notes import transitions
from loraform_operator.iacmodel.observe import Observed, observe, read_model
from loraform_operator.iacmodel.plan import plan, route_config_map
from loraform_operator.iacmodel.routing import derive_route, poll_seconds
from loraform_operator.iacmodel.status import derive_status, invalid_spec_status
from loraform_operator.iacmodel.versions import new_versions, revision
from loraform_operator.kube import errors
from loraform_operator.kube.apply import Plan, carry_out
from loraform_operator.kube.resource import read_status, write_status
from loraform_operator.queue import GONE


async def reconcile(ctx: Context, key: Key) -> float | None:
    """Bring the model one step further; returns the seconds until the next poll, None for the usual resync.

    Raises `Waiting` when the API server refused an object.
    """
    body, store = await ctx.current(key), (key.namespace, key.name)
    if body is None:
        ctx.routes.pop(store, None)
        ctx.heartbeats.forget(store)
        ctx.waits.forget(key)
        return GONE
    try:
        model = read_model(body, ctx.settings)
        observed = await observe(ctx, key, model)
    except errors.InvalidSpec as error:
        old = read_status(IaCModelStatus, body)
        status = invalid_spec_status(old, body["metadata"]["generation"], str(error), ctx.clock())
        await write_status(ctx.cluster, ctx.events, body, old, status, transitions(old, status))
        return None
    try:
        observed = await _record_versions(ctx, observed)
        observed = await _route(ctx, store, observed)
        await carry_out(ctx.cluster, plan(observed, ctx.settings, ctx.endpoint), observed.children)
    except errors.REFUSALS as error:
        observed = replace(observed, refused=str(error))
    status = derive_status(observed, ctx.clock())
    await write_status(ctx.cluster, ctx.events, body, model.status, status, transitions(model.status, status))
    poll = poll_seconds(observed, ctx.settings)
    if observed.refused:
        pause = ctx.waits.pause(key, observed.refused, ctx.clock())
        raise errors.Waiting(observed.refused, min(pause, poll or math.inf))
    ctx.waits.forget(key)
    return poll


async def _record_versions(ctx: Context, observed: Observed) -> Observed:
    """Record a decision on each new candidate before any object depends on it."""
    new = new_versions(observed.model, observed.candidates, observed.versions, observed.live)
    await carry_out(ctx.cluster, Plan(create=[revision(observed.model, v) for v in new]), observed.children)
    return replace(observed, versions=(*reversed(new), *observed.versions), candidates=())


async def _route(ctx: Context, store: tuple[str, str], observed: Observed) -> Observed:
    """Write the route before the heartbeat replies carry it; a refused other object cannot block it."""
    route = derive_route(observed)
    if route is not None:
        await carry_out(ctx.cluster, Plan(apply=[route_config_map(observed.model, route)]), observed.children)
        ctx.routes[store] = route
    return replace(observed, route=route)
