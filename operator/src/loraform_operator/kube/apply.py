"""Desired objects and how they become real: created once, server-side applied when they differ, or deleted by uid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.objects import Object


@dataclass(frozen=True)
class Plan:
    """What a reconcile wants done, in this order."""

    apply: list[Object] = field(default_factory=list)
    """Mutable objects, kept as given."""
    create: list[Object] = field(default_factory=list)
    """Objects that are created once and never patched: Jobs, claims, immutable ConfigMaps, ControllerRevisions."""
    delete: list[Object] = field(default_factory=list)
    """Observed objects to remove, each by its uid."""


async def carry_out(cluster: Cluster, plan: Plan, existing: Iterable[Object]) -> None:
    """Do what of `plan` is not done yet. `existing` are the children as observed; raises `ClusterError`."""
    known = {(o["kind"], o["metadata"]["name"]): o for o in existing}
    for obj in plan.apply:
        found = known.get((obj["kind"], obj["metadata"]["name"]))
        if found is None:
            await cluster.refuse_foreign(obj)  # an apply would take over whatever stands there
        if not covers(found, obj):
            await cluster.apply(obj)
    for obj in plan.create:
        if (obj["kind"], obj["metadata"]["name"]) not in known:
            await cluster.create(obj)
    for obj in plan.delete:
        meta = obj["metadata"]
        if "deletionTimestamp" not in meta:
            await cluster.delete(obj["kind"], meta["namespace"], meta["name"], meta["uid"])


def covers(existing: Any, desired: Any) -> bool:
    """Say whether everything in `desired` stands in `existing`; the API server's defaults may stand there too.

    An empty or null desired value is also covered by an absent one: the API server drops those.
    """
    if desired in ({}, [], "", None) and not existing:
        return True
    if isinstance(desired, dict):
        return isinstance(existing, dict) and all(covers(existing.get(k), v) for k, v in desired.items())
    if isinstance(desired, list):
        same_length = isinstance(existing, list) and len(existing) == len(desired)
        return same_length and all(covers(e, d) for e, d in zip(existing, desired, strict=True))
    return bool(existing == desired)
