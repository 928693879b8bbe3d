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
    """A fake API client that records its calls, and raises `error` if it is set."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None

    async def request(self, method: str, path: str, body: dict[str, Any]) -> None:
        await self._take(method, body)

    async def patch_merge(self, kind: str, namespace: str, name: str, body: dict[str, Any]) -> None:
        await self._take("PATCH", body)

    async def _take(self, method: str, body: dict[str, Any]) -> None:
        self.calls.append((method, body))
        if self.error is not None:
            raise self.error


def recorder(cluster: FakeCluster) -> Recorder:
    return Recorder(cluster, lambda: datetime(2026, 11, 24, tzinfo=UTC))  # type: ignore[arg-type]


async def test_a_repeated_event_increases_the_count() -> None:
    cluster = FakeCluster()
    events = recorder(cluster)
    for message in ("a", "a", "b"):
        await events.record(OBJ, Note("Unschedulable", message, "Warning"))
    assert [m for m, _ in cluster.calls] == ["POST", "PATCH", "POST"]
    assert cluster.calls[1][1]["count"] == 2
    assert cluster.calls[0][1]["involvedObject"]["uid"] == "u"


async def test_an_event_from_before_a_restart_is_counted_the_next_time() -> None:
    cluster = FakeCluster()
    events = recorder(cluster)
    cluster.error = errors.Conflict("exists", 409)
    await events.record(OBJ, Note("Training", "m"))
    cluster.error = None
    await events.record(OBJ, Note("Training", "m"))
    assert [m for m, _ in cluster.calls] == ["POST", "PATCH"]


async def test_failures_are_ignored_and_an_expired_event_is_posted_again() -> None:
    cluster = FakeCluster()
    events = recorder(cluster)
    cluster.error = errors.Forbidden("no", 403)
    await events.record(OBJ, Note("Training", "m"))
    cluster.error = None
    await events.record(OBJ, Note("Training", "m"))
    cluster.error = errors.NotFound("expired", 404)
    await events.record(OBJ, Note("Training", "m"))
    cluster.error = None
    await events.record(OBJ, Note("Training", "m"))
    assert [m for m, _ in cluster.calls] == ["POST", "POST", "PATCH", "POST"]
