"""The API client against a real HTTP server with prepared responses."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from loraform_operator.kube import errors
from loraform_operator.kube.cluster import ATTEMPTS, Cluster, without_limit

MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "m", "namespace": "ns", "ownerReferences": [{"uid": "u1", "controller": True}]},
}


class ApiServer:
    """Answers with the next of `answers` (status, body, headers), and 200 with an empty object after the last."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.requests: list[tuple[str, str, str, Any]] = []
        self.hangs = False
        self.seconds_left = [math.inf]
        """What the lease says to each check; the last for good."""

    def lease(self) -> float:
        return self.seconds_left.pop(0) if len(self.seconds_left) > 1 else self.seconds_left[0]

    def respond(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append((status, body or {}, {k.replace("_", "-"): v for k, v in headers.items()}))

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else None
        self.requests.append((request.method, request.path_qs, request.content_type, body))
        if self.hangs:
            await asyncio.Event().wait()
        status, answer, headers = self.answers.pop(0) if self.answers else (200, {}, {})
        return web.json_response(answer, status=status, headers=headers)


class Sleeps(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
async def server() -> AsyncIterator[tuple[ApiServer, Cluster, Sleeps, Counter[int]]]:
    api = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    settings = client.Configuration(host=f"http://{host}:{port}")
    sleeps, codes = Sleeps(), Counter[int]()
    cluster = Cluster(client.ApiClient(settings), lambda _, __, code: codes.update([code]), api.lease, sleeps)
    yield api, cluster, sleeps, codes
    await cluster.close()
    await runner.cleanup()


Server = tuple[ApiServer, Cluster, Sleeps, Counter[int]]


async def test_retry_after_is_obeyed_for_every_verb(server: Server) -> None:
    api, cluster, sleeps, codes = server
    api.respond(429, Retry_After="7")
    await cluster.create(MAP)
    assert sleeps == [7.0]
    assert codes == {429: 1, 200: 1}


async def test_server_errors_are_retried_except_for_create(server: Server) -> None:
    api, cluster, sleeps, _ = server
    api.respond(503)
    api.respond(500)
    await cluster.apply(MAP, None)
    assert len(sleeps) == 2
    api.respond(500, {"message": "etcd is away"})
    with pytest.raises(errors.ClusterError, match="etcd is away"):
        await cluster.create(MAP)


async def test_retries_are_limited(server: Server) -> None:
    api, cluster, sleeps, _ = server
    for _ in range(ATTEMPTS):
        api.respond(503)
    with pytest.raises(errors.ClusterError):
        await cluster.get("Job", "ns", "j")
    assert len(sleeps) == ATTEMPTS - 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, errors.Forbidden), (409, errors.Conflict), (422, errors.Invalid), (400, errors.ClusterError)],
)
async def test_a_refusal_has_the_message_of_the_server(server: Server, status: int, error: type[Exception]) -> None:
    api, cluster, sleeps, _ = server
    api.respond(status, {"message": "quota exceeded"})
    with pytest.raises(error, match="quota exceeded"):
        await cluster.apply(MAP, None)
    assert sleeps == []


async def test_a_missing_object_is_none(server: Server) -> None:
    api, cluster, _, _ = server
    api.respond(404)
    assert await cluster.get("Job", "ns", "j") is None


@pytest.mark.parametrize(("owner", "same"), [("u1", True), ("u2", False), (None, False)])
async def test_create_returns_an_existing_object_of_the_same_owner(
    server: Server, owner: str | None, same: bool
) -> None:
    api, cluster, _, _ = server
    existing = {"metadata": {"ownerReferences": [{"uid": owner, "controller": True}] if owner else []}}
    api.respond(409)
    api.respond(200, existing)
    if same:
        assert await cluster.create(MAP) == existing
    else:
        with pytest.raises(errors.ForeignObject, match="has another owner"):
            await cluster.create(MAP)


async def test_the_whole_status_is_written_for_the_read_version(server: Server) -> None:
    api, cluster, _, _ = server
    obj = {
        "apiVersion": "loraform.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "j", "namespace": "ns", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
    }
    await cluster.write_status(obj, {"phase": "Pending"})
    method, path, content_type, body = api.requests[0]
    assert (method, content_type) == ("PATCH", "application/apply-patch+yaml")
    assert path.endswith("/finetunejobs/j/status?fieldManager=loraform-operator&force=true")
    assert body["metadata"] == {"name": "j", "namespace": "ns", "resourceVersion": "7"}


@pytest.mark.parametrize(("observed", "version"), [({"metadata": {"resourceVersion": "7"}}, "7"), (None, "1")])
async def test_an_apply_names_the_version_that_was_read(server: Server, observed: Any, version: str) -> None:
    api, cluster, _, _ = server
    await cluster.apply(MAP, observed)
    assert api.requests[0][3] == {**MAP, "metadata": {**MAP["metadata"], "resourceVersion": version}}  # type: ignore[dict-item]


async def test_a_merge_patch_names_the_version_that_was_read(server: Server) -> None:
    api, cluster, _, _ = server
    event = {"kind": "Event", "metadata": {"name": "e", "namespace": "ns", "resourceVersion": "7"}, "count": 1}
    await cluster.patch_merge(event, {"count": 2})
    assert api.requests[0] == (
        "PATCH",
        "/api/v1/namespaces/ns/events/e",
        "application/merge-patch+json",
        {"count": 2, "metadata": {"resourceVersion": "7"}},
    )


async def test_without_the_lease_nothing_is_written_and_everything_read(server: Server) -> None:
    api, cluster, sleeps, codes = server
    api.seconds_left = [0.0]
    status = {"apiVersion": "v1", "kind": "FineTuneJob", "metadata": {"name": "j", "namespace": "n"}}
    status["metadata"]["resourceVersion"] = "7"  # type: ignore[index]
    for write in (
        cluster.create(MAP),
        cluster.apply(MAP, None),
        cluster.write_status(status, {}),
        cluster.delete("Job", "ns", "j", "uid-1"),
        cluster.patch_merge({**status, "kind": "Event"}, {}),
    ):
        with pytest.raises(errors.NotLeading, match="does not hold the lease"):
            await write
    assert (api.requests, sleeps, codes) == ([], [], {})
    await cluster.get("Job", "ns", "j")
    assert [method for method, *_ in api.requests] == ["GET"]


async def test_each_try_of_a_write_is_checked(server: Server) -> None:
    api, cluster, _, _ = server
    api.seconds_left = [5.0, 0.0]
    api.respond(503)
    with pytest.raises(errors.NotLeading):
        await cluster.apply(MAP, None)
    assert len(api.requests) == 1


async def test_a_write_is_given_up_when_the_lease_ends(server: Server) -> None:
    api, cluster, _, _ = server
    api.seconds_left, api.hangs = [0.1, 0.0], True
    with pytest.raises(errors.NotLeading):
        await cluster.apply(MAP, None)
    assert len(api.requests) == 1


async def test_delete_has_the_uid_as_precondition_and_ignores_a_deleted_object(server: Server) -> None:
    api, cluster, _, _ = server
    api.respond(404)
    await cluster.delete("Job", "ns", "j", "uid-1")
    api.respond(409)
    await cluster.delete("Job", "ns", "j", "uid-1")
    assert api.requests[0][3] == {"propagationPolicy": "Background", "preconditions": {"uid": "uid-1"}}


async def test_listed_items_have_their_kind(server: Server) -> None:
    api, cluster, _, _ = server
    api.respond(200, {"items": [{"metadata": {"name": "p"}}]})
    pods = await cluster.list("Pod", "ns", labels="a=b", fields="c=d")
    assert pods == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}]
    assert api.requests[0][1] == "/api/v1/namespaces/ns/pods?labelSelector=a%3Db&fieldSelector=c%3Dd"


async def test_requests_without_a_response_are_counted_and_retried(unused_tcp_port: int = 1) -> None:
    codes, sleeps = Counter[int](), Sleeps()
    settings = client.Configuration(host=f"http://127.0.0.1:{unused_tcp_port}")
    cluster = Cluster(client.ApiClient(settings), lambda _, __, code: codes.update([code]), without_limit, sleeps)
    with pytest.raises(errors.ClusterError) as caught:
        await cluster.get("Job", "ns", "j")
    await cluster.close()
    assert (caught.value.status, codes) == (0, {0: ATTEMPTS})
