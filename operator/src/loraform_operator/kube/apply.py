"""Carries out a plan: creates objects once, applies those that differ, deletes by uid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from loraform_operator.kube import errors
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.objects import Object


@dataclass(frozen=True)
class Plan:
    """Changes to the cluster, made in this order."""

    apply: list[Object] = field(default_factory=list)
    """Mutable objects, server-side applied when they differ."""
    create: list[Object] = field(default_factory=list)
    """Objects that are never patched: Jobs, claims, immutable ConfigMaps, ControllerRevisions."""
    delete: list[Object] = field(default_factory=list)
    """Observed objects to remove, each by its uid."""


async def carry_out(cluster: Cluster, plan: Plan, existing: Iterable[Object]) -> None:
    """Make the changes that `existing`, the observed children, do not have yet; raises `ClusterError`."""
    known = {(o["kind"], o["metadata"]["name"]): o for o in existing}
    for obj in plan.apply:
        await ensure(cluster, obj, known.get((obj["kind"], obj["metadata"]["name"])))
    for obj in plan.create:
        if (obj["kind"], obj["metadata"]["name"]) not in known:
            await cluster.create(obj)
    for obj in plan.delete:
        meta = obj["metadata"]
        if "deletionTimestamp" not in meta:
            await cluster.delete(obj["kind"], meta["namespace"], meta["name"], meta["uid"])


async def ensure(cluster: Cluster, obj: Object, observed: Object | None) -> Object:
    """Apply `obj` unless `observed`, the object as last read, has its values; returns the object as it is then.

    Raises `Conflict` when it changed meanwhile, `ForeignObject` when it has another owner.
    """
    if observed is not None and covers(observed, obj):
        return observed
    try:
        return await cluster.apply(obj, observed)
    except errors.Conflict:
        existing = await cluster.check_owner(obj)
        if existing is not None and covers(existing, obj):
            return existing  # the index was behind the operator's own write
        raise


def covers(existing: Any, desired: Any) -> bool:
    """Say whether `existing` has every value of `desired`; it may have more, such as the API server's defaults.

    An absent value covers an empty or null one: the API server drops those.
    """
    if desired in ({}, [], "", None) and not existing:
        return True
    if isinstance(desired, dict):
        return isinstance(existing, dict) and all(covers(existing.get(k), v) for k, v in desired.items())
    if isinstance(desired, list):
        same_length = isinstance(existing, list) and len(existing) == len(desired)
        return same_length and all(covers(e, d) for e, d in zip(existing, desired, strict=True))
    return bool(existing == desired)
