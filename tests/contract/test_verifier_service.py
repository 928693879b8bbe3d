"""The verifier's HTTP API: its client against its service, and errors for other clients."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loraform_api.verification import (
    HousePolicy,
    IntentSpec,
    Program,
    ProgramVerdict,
    Stage,
    Toolchain,
    VerifyRequest,
    VerifyResponse,
)
from loraform_verifier.http import blocking, service
from loraform_verifier.http.blocking import VerifierRefused, VerifierUnavailable
from loraform_verifier.http.client import VerifierClient
from loraform_verifier.http.queue import Verifiers
from loraform_verifier.verify import Verifier

STATIC = [Stage.PARSE, Stage.POLICY, Stage.INTENT]
POLICY = HousePolicy(comment="# by PiCloud", tags={"created_by": "PiCloud"})
BARE = Program(id="bare", text='resource "aws_vpc" "main" {\n}\n', asked=IntentSpec(types=["aws_vpc"], names=["main"]))
BROKEN = Program(id="broken", text='resource "aws_vpc" "main" {\n')


async def serve(verifier: Verifier, lingering: float = 10) -> AsyncIterator[str]:
    """Serve `verifier`; `lingering` is how many seconds the server reads the rest of a refused body."""
    app = service.application(Verifiers(verifier, verifier, verifier))
    runner = web.AppRunner(app, lingering_time=lingering, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async for address in serve(Verifier()):
        yield address


def timeless(answer: VerifyResponse) -> VerifyResponse:
    """Return the response without times."""
    verdicts = [verdict.model_copy(update={"seconds": 0}) for verdict in answer.verdicts]
    return answer.model_copy(update={"seconds": 0, "verdicts": verdicts})


async def test_verdicts_survive_the_service(url: str) -> None:
    request = VerifyRequest(programs=[BARE, BROKEN], stages=STATIC, policy=POLICY)
    async with VerifierClient(url) as verifier:
        answer = await verifier.verify(request)
    assert timeless(answer) == timeless(Verifier().verify(request))
    bare, broken = answer.verdicts
    assert [r.stage for r in bare.stages] == [Stage.PARSE, Stage.POLICY]
    assert [d.code for d in bare.stages[1].diagnostics] == ["CommentMissing", "TagMissing"]
    assert not broken.passed
    assert broken.stages[0].diagnostics[0].line == 1


async def test_rewriting_gives_the_served_form(url: str) -> None:
    request = VerifyRequest(programs=[BARE, BROKEN], stages=STATIC, policy=POLICY, rewrite=True)
    async with VerifierClient(url) as verifier:
        bare, broken = (await verifier.verify(request)).verdicts
    assert bare.passed
    assert bare.rewritten is not None
    assert bare.rewritten.startswith("# by PiCloud\nresource")
    assert broken.rewritten is None


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("{", 400, "body: Invalid JSON"),
        ('{"programs": [], "unknown": 1}', 400, "unknown: Extra inputs are not permitted"),
        ('{"programs": [{"id": "", "text": "SECRET"}]}', 400, "programs.0.id: String should have at least 1 character"),
        ('{"programs": [], "stages": ["Guess"]}', 400, "stages.0: Input should be"),
        ('{"programs": [], "stages": ["Validate"]}', 400, "stages: Validate needs a terraform binary"),
        ('{"programs": [], "stages": ["Policy"], "rewrite": true}', 400, "policy: `rewrite` needs a policy"),
        ('{"programs": [], "stages": []}', 400, "stages: List should have at least 1 item"),
        ('{"programs": []}', 400, "stages: Validate needs a terraform binary"),
        ('{"programs": [], "policy": {"commment": "#"}}', 400, "policy.commment: Extra inputs are not permitted"),
        (
            '{"programs": [{"id": "a", "text": "b {", "files": {"main.tf": ""}}]}',
            400,
            "programs.0.files: 'main.tf' is given twice: here and as `text`",
        ),
        ('{"programs": [{"id": "a", "files": {"a.tf.json": ""}}]}', 400, "programs.0.files: 'a.tf.json' cannot be"),
        ("[" * 100_000, 400, "body: Invalid JSON"),
    ],
)
async def test_a_wrong_request_gets_the_field_to_change(url: str, body: str, status: int, told: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/verify", data=body) as answer:
        assert answer.status == status
        error = (await answer.json())["error"]
    assert error["code"] == "InvalidRequest"
    assert error["message"].startswith(told)
    assert "SECRET" not in error["message"]


async def test_other_paths_methods_and_sizes_are_refused_in_json(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_BODY", 1000)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/v1/verify") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (405, "MethodNotAllowed")
        async with session.get(f"{url}/other") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "NotFound")
    async for small in serve(Verifier()):
        async with aiohttp.ClientSession() as session, session.post(f"{small}/v1/verify", data="x" * 2000) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (413, "TooLarge")


async def test_health_names_the_toolchain(url: str) -> None:
    async with VerifierClient(url) as verifier:
        assert await verifier.healthy()
    async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
        assert (await answer.json())["toolchain"]["terraform"] == "none"


class _Slow(Verifier):
    """A verifier that waits for an event, and counts concurrent requests."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.inside = self.most = 0

    def verify(
        self, request: VerifyRequest, *, beginning: Callable[[Stage, int], None] = lambda _stage, _programs: None
    ) -> VerifyResponse:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.go_on.wait(30)
        self.inside -= 1
        return super().verify(request, beginning=beginning)


async def test_one_request_at_a_time_and_a_bounded_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 2)
    slow = _Slow()
    request = VerifyRequest(programs=[BARE], stages=[Stage.PARSE])
    async for address in serve(slow):
        async with VerifierClient(address) as verifier:
            pending = {asyncio.create_task(verifier.verify(request)) for _ in range(3)}
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            with pytest.raises(VerifierUnavailable, match="Busy"):
                await done.pop()
            slow.go_on.set()
            answers = await asyncio.gather(*pending)
    assert [a.verdicts[0].passed for a in answers] == [True, True]
    assert slow.most == 1


async def test_a_full_queue_answers_with_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 0)
    async for busy in serve(Verifier()):
        async with aiohttp.ClientSession() as session, session.post(f"{busy}/v1/verify", json={"programs": []}) as told:
            assert (told.status, told.headers["Retry-After"]) == (503, "10")


async def _unfinished(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Start a request whose body never arrives, after the server asked for it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    return reader, writer


async def test_a_request_is_queued_before_its_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 1)
    request = VerifyRequest(programs=[BARE], stages=[Stage.PARSE])
    async for address in serve(Verifier()):
        _, writer = await _unfinished(address)
        async with VerifierClient(address) as verifier:
            with pytest.raises(VerifierUnavailable, match="Busy"):
                await verifier.verify(request)
        writer.close()


async def test_a_body_that_stalls_frees_its_place_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 1)
    monkeypatch.setattr(service, "READ_SECONDS", 0.1)
    request = VerifyRequest(programs=[BARE], stages=[Stage.PARSE])
    async for address in serve(Verifier(), lingering=0):
        reader, writer = await _unfinished(address)
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        async with VerifierClient(address) as verifier:
            assert (await verifier.verify(request)).verdicts[0].passed
        writer.close()


async def test_a_client_that_gives_up_does_not_free_the_turn() -> None:
    slow = _Slow()
    request = VerifyRequest(programs=[BARE], stages=[Stage.PARSE])
    async for address in serve(slow):
        async with VerifierClient(address, seconds=0.2) as hasty, VerifierClient(address) as verifier:
            with pytest.raises(VerifierUnavailable, match="TimeoutError"):
                await hasty.verify(request)
            second = asyncio.create_task(verifier.verify(request))
            slow.go_on.set()
            assert (await second).verdicts[0].passed
    assert slow.most == 1


async def test_the_client_names_a_service_that_does_not_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with VerifierClient(url) as verifier:
            assert not await verifier.healthy()
            with pytest.raises(VerifierUnavailable, match=url):
                await verifier.verify(VerifyRequest(programs=[]))


async def test_the_client_tells_refusal_from_failure(url: str) -> None:
    async with VerifierClient(url) as verifier:
        with pytest.raises(VerifierRefused, match="Validate needs a terraform binary"):
            await verifier.verify(VerifyRequest(programs=[BARE], policy=POLICY))


async def test_the_blocking_client_speaks_as_the_other(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    request = VerifyRequest(programs=[BARE, BROKEN], stages=STATIC, policy=POLICY)
    await asyncio.to_thread(blocking.wait_until_healthy, url, 0)
    answer = await asyncio.to_thread(blocking.verify, url, request)
    assert timeless(answer) == timeless(Verifier().verify(request))
    with pytest.raises(VerifierRefused, match=r"answered 400: .*Validate needs a terraform binary"):
        await asyncio.to_thread(blocking.verify, url, VerifyRequest(programs=[BARE], policy=POLICY))
    monkeypatch.setattr(service, "MAX_WAITING", 0)
    async for busy in serve(Verifier()):
        with pytest.raises(VerifierUnavailable, match=r"answered 503: .*Busy"):
            await asyncio.to_thread(blocking.verify, busy, request)


def test_the_blocking_client_names_a_service_that_does_not_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(VerifierUnavailable, match="the verifier was not ready after 0 s"):
            blocking.wait_until_healthy(url, 0)
        with pytest.raises(VerifierUnavailable, match=url):
            blocking.verify(url, VerifyRequest(programs=[]))


@pytest.fixture
async def lossy() -> AsyncIterator[tuple[str, list[object]]]:
    """A service that loses its first connections, with the requests that reached it."""
    requests: list[object] = []

    async def verify(request: web.Request) -> web.Response:
        requests.append(await request.json())
        if len(requests) <= len(blocking.PAUSES):
            assert request.transport is not None
            request.transport.close()
        verdict = ProgramVerdict(id="lone", passed=True, stages=[])
        answer = VerifyResponse(verdicts=[verdict], seconds=0.0, toolchain=Toolchain(terraform="none"))
        return web.Response(text=answer.model_dump_json(by_alias=True), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/verify", verify)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/"), requests


async def test_the_client_repeats_a_request_whose_connection_is_lost(lossy: tuple[str, list[object]]) -> None:
    url, requests = lossy
    async with VerifierClient(url) as verifier:
        assert (await verifier.verify(VerifyRequest(programs=[BARE]))).verdicts[0].passed
    assert len(requests) == len(blocking.PAUSES) + 1


async def test_the_blocking_client_repeats_a_request_whose_connection_is_lost(lossy: tuple[str, list[object]]) -> None:
    url, requests = lossy
    assert (await asyncio.to_thread(blocking.verify, url, VerifyRequest(programs=[BARE]))).verdicts[0].passed
    assert len(requests) == len(blocking.PAUSES) + 1


async def test_a_body_that_contradicts_its_headers_is_refused(url: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/verify", data=b"{}", headers=headers, skip_auto_headers=["Accept-Encoding"]) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["message"] == "body: it cannot be decoded as its headers specify"


async def test_a_request_whose_time_ends_is_refused_with_retry_after() -> None:
    slow = _Slow()
    request = VerifyRequest(programs=[BARE], stages=[Stage.PARSE], within=0.1)
    async for address in serve(slow):
        async with aiohttp.ClientSession() as session:
            body = request.model_dump_json(by_alias=True)
            async with session.post(f"{address}/v1/verify", data=body) as answer:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) >= 1
                error = (await answer.json())["error"]
        slow.go_on.set()
    assert error["code"] == "TooLate"
    assert error["message"].startswith("not verified within 0.1 s; ask again in ")


async def test_the_service_is_healthy_once_it_is_warm() -> None:
    warm = threading.Event()
    app = service.application(Verifiers(*[Verifier()] * 3), lambda: bool(warm.wait(30)) or None)
    async with TestServer(app) as server, VerifierClient(str(server.make_url(""))) as verifier:
        assert not await verifier.healthy()
        warm.set()
        await verifier.wait_until_healthy(30)
