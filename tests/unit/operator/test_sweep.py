"""Objects that were deleted while a watch was disconnected leave the cache."""

from __future__ import annotations

from typing import Any

from loraform_api.names import Kind
from loraform_operator.context import Cache, Key
from loraform_operator.sweep import sweep

RUN = Key(Kind.FINE_TUNE_JOB, "team-a", "style")
OTHER = RUN._replace(name="other")


def obj(kind: str, uid: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": uid, "namespace": "team-a", "uid": uid}}


class ListedCluster:
    """Answers lists from memory and records the requests."""

    def __init__(self, *existing: dict[str, Any]) -> None:
        self.existing = existing
        self.requests: list[tuple[str, str | None, str | None]] = []

    async def list(self, kind: str, namespace: str | None, *, labels: str | None = None) -> list[dict[str, Any]]:
        self.requests.append((kind, namespace, labels))
        return [o for o in self.existing if o["kind"] == kind]


async def test_deleted_objects_are_dropped_and_their_owners_returned() -> None:
    cache = Cache(
        {RUN: [obj("FineTuneJob", "run")], OTHER: [obj("FineTuneJob", "deleted")]},
        {RUN: [obj("Pod", "here"), obj("Pod", "lost")]},
    )
    cluster = ListedCluster(obj("FineTuneJob", "run"), obj("Pod", "here"), obj("Pod", "not indexed yet"))
    assert await sweep(cluster, cache, ()) == {RUN, OTHER}  # type: ignore[arg-type]
    assert [c["metadata"]["uid"] for c in cache.owned(RUN)] == ["here"]
    assert cache.get(OTHER) is None
    assert cluster.requests == [
        ("FineTuneJob", None, None),
        ("Pod", None, "app.kubernetes.io/managed-by=loraform-operator"),
    ]
    assert await sweep(cluster, cache, ()) == set()  # type: ignore[arg-type]


async def test_only_indexed_kinds_and_watched_namespaces_are_listed() -> None:
    cluster = ListedCluster()
    assert await sweep(cluster, Cache({}, {}), ("a", "b")) == set()  # type: ignore[arg-type]
    assert cluster.requests == []
    await sweep(cluster, Cache({RUN: [obj("FineTuneJob", "run")]}, {}), ("a", "b"))  # type: ignore[arg-type]
    assert [namespace for _, namespace, _ in cluster.requests] == ["a", "b"]
