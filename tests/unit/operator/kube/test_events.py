from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from loraform_operator.kube import errors
from loraform_operator.kube.events import Note, Recorder

OBJ = {
    "apiVersion": "loraform.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "j", "namespace": "ns", "uid": "u"},
}


class FakeCluster:
    """The API server's events in memory; raises `error` once if it is set."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.error: Exception | None = None

    async def request(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._take(method)
        assert path == "/api/v1/namespaces/ns/events"
        if body["metadata"]["name"] in self.events:
            raise errors.Conflict("exists", 409)
        return self._store(body)

    async def list(self, kind: str, namespace: str, *, fields: str) -> list[dict[str, Any]]:
        found = self.events.get(fields.removeprefix("metadata.name="))
        return [found] if found else []

    async def patch_merge(self, observed: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        self._take("PATCH")
        stored = self.events.get(observed["metadata"]["name"])
        if stored is None:
            raise errors.NotFound("expired", 404)
        if stored["metadata"]["resourceVersion"] != observed["metadata"]["resourceVersion"]:
            raise errors.Conflict("changed", 409)
        return self._store({**stored, **body})

    def _store(self, event: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        event = {**event, "metadata": {**event["metadata"], "resourceVersion": str(self.version)}}
        self.events[event["metadata"]["name"]] = event
        return event

    def _take(self, method: str) -> None:
        self.calls.append(method)
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    @property
    def counts(self) -> list[int]:
        return [e["count"] for e in self.events.values()]


def recorder(cluster: FakeCluster) -> Recorder:
    return Recorder(cluster, lambda: datetime(2026, 11, 24, tzinfo=UTC))  # type: ignore[arg-type]


async def test_a_repeated_event_increases_the_count() -> None:
    cluster = FakeCluster()
    events = recorder(cluster)
    for message in ("a", "a", "a", "b"):
        await events.record(OBJ, Note("Unschedulable", message, "Warning"))
    assert cluster.calls == ["POST", "PATCH", "PATCH", "POST"]
    assert cluster.counts == [3, 1]
    assert next(iter(cluster.events.values()))["involvedObject"]["uid"] == "u"


async def test_an_event_from_before_a_restart_is_counted_on() -> None:
    cluster = FakeCluster()
    for _ in range(3):
        await recorder(cluster).record(OBJ, Note("Training", "m"))
    assert cluster.counts == [3]


async def test_who_counts_from_an_old_version_changes_nothing() -> None:
    """Two processes: the second one counts while the first is away, the first one is refused and reads again."""
    cluster = FakeCluster()
    first, second = recorder(cluster), recorder(cluster)
    await first.record(OBJ, Note("Training", "m"))
    await second.record(OBJ, Note("Training", "m"))
    await first.record(OBJ, Note("Training", "m"))
    assert cluster.counts == [2]
    await first.record(OBJ, Note("Training", "m"))
    assert cluster.counts == [3]


async def test_failures_are_ignored_and_an_expired_event_is_posted_again() -> None:
    cluster = FakeCluster()
    events = recorder(cluster)
    cluster.error = errors.Forbidden("no", 403)
    await events.record(OBJ, Note("Training", "m"))
    await events.record(OBJ, Note("Training", "m"))
    cluster.events.clear()
    await events.record(OBJ, Note("Training", "m"))
    await events.record(OBJ, Note("Training", "m"))
    assert cluster.calls == ["POST", "POST", "PATCH", "POST"]
    assert cluster.counts == [1]
