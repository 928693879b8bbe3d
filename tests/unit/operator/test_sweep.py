"""What was deleted while a watch was away leaves the cache, and its owner is looked at again."""

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
    """Answers lists from memory and notes what it was asked."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.there = there
        self.asked: list[tuple[str, str | None, str | None]] = []

    async def list(self, kind: str, namespace: str | None, *, labels: str | None = None) -> list[dict[str, Any]]:
        self.asked.append((kind, namespace, labels))
        return [o for o in self.there if o["kind"] == kind]


async def test_what_is_gone_is_forgotten_and_its_owner_woken() -> None:
    cache = Cache(
        {RUN: [obj("FineTuneJob", "run")], OTHER: [obj("FineTuneJob", "deleted")]},
        {RUN: [obj("Pod", "here"), obj("Pod", "lost")]},
    )
    cluster = ListedCluster(obj("FineTuneJob", "run"), obj("Pod", "here"), obj("Pod", "not indexed yet"))
    assert await sweep(cluster, cache, ()) == {RUN, OTHER}  # type: ignore[arg-type]
    assert [c["metadata"]["uid"] for c in cache.owned(RUN)] == ["here"]
    assert cache.get(OTHER) is None
    assert cluster.asked == [
        ("FineTuneJob", None, None),
        ("Pod", None, "app.kubernetes.io/managed-by=loraform-operator"),
    ]
    assert await sweep(cluster, cache, ()) == set()  # type: ignore[arg-type]


async def test_only_watched_namespaces_are_listed_and_nothing_for_nobody() -> None:
    cluster = ListedCluster()
    assert await sweep(cluster, Cache({}, {}), ("a", "b")) == set()  # type: ignore[arg-type]
    assert cluster.asked == []
    await sweep(cluster, Cache({RUN: [obj("FineTuneJob", "run")]}, {}), ("a", "b"))  # type: ignore[arg-type]
    assert [namespace for _, namespace, _ in cluster.asked] == ["a", "b"]
