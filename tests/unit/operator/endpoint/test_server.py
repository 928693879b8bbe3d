"""The endpoint over real HTTP, with a fake token verifier."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from loraform_api.heartbeat import Route
from loraform_api.names import Kind, audience, heartbeat_path, progress_path
from loraform_operator.context import Cache, Key
from loraform_operator.endpoint.heartbeats import HeartbeatStore
from loraform_operator.endpoint.progress_store import ProgressStore
from loraform_operator.endpoint.server import BODY_LIMIT, RateLimit, Receiver, application
from loraform_operator.endpoint.tokens import Caller, Unauthorized

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
RUN, MODEL = Key(Kind.FINE_TUNE_JOB, "ns", "job"), Key(Kind.IAC_MODEL, "ns", "model")
PROGRESS = {"trainerStatus": {"progressPercentage": 42, "metrics": [{"name": "loss", "value": "0.5"}]}}
BEAT = {"role": "agent", "pod": "p", "routeRevision": "r1"}


class Tokens:
    """Accepts tokens of the form `<audience>|<namespace>|<pod uid>`."""

    async def verify(self, token: str, expected: str) -> Caller:
        parts = token.split("|")
        if len(parts) != 3 or parts[0] != expected:
            raise Unauthorized("wrong audience")
        return Caller(parts[1], "p", parts[2])


def pod(uid: str) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": uid, "uid": uid}}


class Setup:
    def __init__(self) -> None:
        self.time = 0.0
        self.woken: list[Key] = []
        objects = {RUN: [{"metadata": {"uid": "u1"}}], MODEL: [{"metadata": {"uid": "u2"}}]}
        children = {
            RUN: [pod("pod-1"), {"kind": "Job", "metadata": {"name": "j", "uid": "job-1"}}],
            MODEL: [pod("pod-2")],
        }
        self.receiver = Receiver(
            cache=Cache(objects, children),
            tokens=Tokens(),  # type: ignore[arg-type]
            rate=RateLimit(lambda: self.time),
            progress=ProgressStore(),
            heartbeats=HeartbeatStore(timedelta(seconds=15)),
            routes={},
            clock=lambda: NOW,
            wake=self.woken.append,
        )


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[TestClient[Request, Application]]:
    async with TestClient(TestServer(application(setup.receiver))) as test_client:
        yield test_client


def bearer(key: Key, uid: str, pod_uid: str, namespace: str = "ns") -> dict[str, str]:
    return {"Authorization": f"Bearer {audience(key.namespace, key.name, uid)}|{namespace}|{pod_uid}"}


async def test_progress_is_stored_and_wakes_the_run(setup: Setup, client: TestClient[Request, Application]) -> None:
    answer = await client.post(progress_path("ns", "job"), json=PROGRESS, headers=bearer(RUN, "u1", "pod-1"))
    assert (answer.status, await answer.json()) == (200, {})
    report = setup.receiver.progress.get(("ns", "job"))
    assert report is not None
    assert (report.status.progress_percentage, report.pod_uid, setup.woken) == (42, "pod-1", [RUN])


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (progress_path("ns", "none"), bearer(RUN, "u1", "pod-1"), 404),
        (progress_path("other", "job"), bearer(RUN, "u1", "pod-1"), 404),
        (progress_path("ns", "job"), {}, 401),
        (progress_path("ns", "job"), {"Authorization": "Basic x"}, 401),
        (progress_path("ns", "job"), bearer(RUN, "old-uid", "pod-1"), 401),
        (progress_path("ns", "job"), bearer(MODEL, "u2", "pod-2"), 401),
        (progress_path("ns", "job"), bearer(RUN, "u1", "pod-2"), 403),
        (progress_path("ns", "job"), bearer(RUN, "u1", "job-1"), 403),
        (progress_path("ns", "job"), bearer(RUN, "u1", "pod-1", namespace="other"), 403),
    ],
)
async def test_unauthorized_requests_are_refused(
    setup: Setup, client: TestClient[Request, Application], path: str, headers: dict[str, str], status: int
) -> None:
    answer = await client.post(path, json=PROGRESS, headers=headers)
    assert answer.status == status
    assert setup.woken == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"{}", 400),
        (b'{"trainerStatus": {"progressPercentage": 101}}', 400),
        (b" " * (BODY_LIMIT + 1), 413),
        (b'{"trainerStatus": {}, "future": 1}', 200),
    ],
)
async def test_invalid_bodies_are_refused(client: TestClient[Request, Application], body: bytes, status: int) -> None:
    answer = await client.post(progress_path("ns", "job"), data=body, headers=bearer(RUN, "u1", "pod-1"))
    assert answer.status == status


async def test_requests_of_a_pod_are_rate_limited(setup: Setup, client: TestClient[Request, Application]) -> None:
    async def post() -> int:
        path, headers = progress_path("ns", "job"), bearer(RUN, "u1", "pod-1")
        return (await client.post(path, json=PROGRESS, headers=headers)).status

    assert [await post(), await post()] == [200, 429]
    setup.time += 1.0
    assert await post() == 200


async def test_heartbeat_is_answered_with_the_route(setup: Setup, client: TestClient[Request, Application]) -> None:
    path, headers = heartbeat_path("ns", "model"), bearer(MODEL, "u2", "pod-2")
    assert (await client.post(path, json=BEAT, headers=headers)).status == 503
    assert setup.woken == [MODEL]
    setup.receiver.routes["ns", "model"] = Route(revision="r2", model="model", base_path="/mnt/base/tiny")
    setup.time += 3
    answer = await client.post(path, json=BEAT, headers=headers)
    assert (await answer.json())["basePath"] == "/mnt/base/tiny"
    assert setup.woken == [MODEL], "an unchanged heartbeat wakes nothing"
    assert list(setup.receiver.heartbeats.agents(("ns", "model"), NOW)) == ["pod-2"]
    assert not setup.receiver.heartbeats.agents(("ns", "model"), NOW + timedelta(seconds=16))
