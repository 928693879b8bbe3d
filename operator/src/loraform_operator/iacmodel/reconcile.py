"""One pass over one IaCModel: observe, judge new candidates, route, plan, apply, write the status once, tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from loraform_api.iacmodel import IaCModel, IaCModelStatus
from loraform_operator.context import Context, Key
from loraform_operator.iacmodel.notes import transitions
from loraform_operator.iacmodel.observe import Object, Observed, observe
from loraform_operator.iacmodel.plan import plan, route_config_map
from loraform_operator.iacmodel.routing import derive_route
from loraform_operator.iacmodel.status import derive_status, invalid_status
from loraform_operator.iacmodel.versions import judge, revision
from loraform_operator.kube import errors
from loraform_operator.kube.apply import Plan, carry_out
from loraform_operator.queue import GONE
from loraform_operator.settings import Settings

REFUSALS = (errors.Forbidden, errors.Invalid, errors.ForeignObject, errors.NotFound)


async def reconcile(ctx: Context, key: Key) -> float | None:
    """Bring the model one step further; returns seconds until the next look, None for the usual resync."""
    body, store = await ctx.current(key), (key.namespace, key.name)
    if body is None:
        ctx.routes.pop(store, None)
        ctx.heartbeats.forget(store)
        return GONE
    now = ctx.clock()
    try:
        model = read_model(body, ctx.settings)
    except errors.InvalidSpec as error:
        await _write(ctx, body, *_invalid(body, str(error), now))
        return None
    observed = await observe(ctx, key, model)
    try:
        observed = await _judge(ctx, observed)
        observed = await _route(ctx, store, observed)
        await carry_out(ctx.cluster, plan(observed, ctx.settings, ctx.endpoint), observed.children)
    except REFUSALS as error:
        observed = replace(observed, refused=str(error))
    status = derive_status(observed, now)
    await _write(ctx, body, model.status, status)
    return next_look(observed, ctx.settings)


def read_model(body: Object, settings: Settings) -> IaCModel:
    """Parse the object; raises InvalidSpec naming the field."""
    try:
        model = IaCModel.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise errors.InvalidSpec(f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from error
    profile = model.spec.serving.placement.profile
    if profile not in settings.profiles:
        known = ", ".join(f"`{p}`" for p in sorted(settings.profiles))
        where = "spec.serving.placement.profile"
        raise errors.InvalidSpec(f"{where}: the operator has no profile `{profile}`; choose one of {known}")
    return model


def next_look(observed: Observed, settings: Settings) -> float | None:
    """While a version is on its way or something was refused, silence of an agent is told by no watch."""
    on_its_way = observed.target is not observed.live
    return float(settings.heartbeat_timeout_seconds) if on_its_way or observed.refused else None


async def _judge(ctx: Context, observed: Observed) -> Observed:
    """Record a decision about each new candidate, before anything is built on it."""
    new = judge(observed.model, observed.candidates, observed.versions, observed.live)
    created = [revision(observed.model, version) for version in new]
    await carry_out(ctx.cluster, Plan(create=created), observed.children)
    return replace(observed, versions=(*reversed(new), *observed.versions), candidates=())


async def _route(ctx: Context, store: tuple[str, str], observed: Observed) -> Observed:
    """Write the route in force down, then tell it to the pods; no other object can stand in its way."""
    route = derive_route(observed)
    if route is not None:
        await carry_out(ctx.cluster, Plan(apply=[route_config_map(observed.model, route)]), observed.children)
        ctx.routes[store] = route
    return replace(observed, route=route)


def _invalid(body: Object, message: str, now: datetime) -> tuple[IaCModelStatus, IaCModelStatus]:
    try:
        old = IaCModelStatus.model_validate(body.get("status") or {})
    except ValidationError:
        old = IaCModelStatus()
    return old, invalid_status(body["metadata"]["generation"], old, message, now)


async def _write(ctx: Context, body: Object, old: IaCModelStatus, new: IaCModelStatus) -> None:
    if new == old:
        return
    await ctx.cluster.write_status(body, new.model_dump(mode="json", by_alias=True, exclude_none=True))
    for note in transitions(old, new):
        await ctx.events.record(body, note)
