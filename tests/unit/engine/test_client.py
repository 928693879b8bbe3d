"""The client of vLLM, against a stub that loses connections and answers as vLLM does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loraform_engine import client
from loraform_engine.client import Engine, completion, engine_session
from loraform_engine.errors import EngineRefused, EngineUnreachable
from loraform_engine.sampling import Sampling

BODY = completion("adapter-1", [5, 6], max_tokens=7, stops=[1], sampling=Sampling(seed=3))
EVENTS = [{"model": "adapter-1", "choices": [{"text": text}]} for text in ("one ", "two")]
CHOICE = {"text": "x", "finish_reason": "stop"}


@dataclass
class LossyEngine:
    """Loses the first `lost` connections of each path before it answers, or after it sent `sent` bytes."""

    lost: int = 0
    sent: bytes = b""
    status: int = 200
    message: str = ""
    healthy: bool = True
    answer: dict[str, Any] = field(default_factory=lambda: {"model": "adapter-1", "choices": [CHOICE]})
    events: list[dict[str, Any]] = field(default_factory=lambda: EVENTS)
    done: bool = True
    """The stream ends with `[DONE]`."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    loaded: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and peer address of each request."""
    bodies: list[Any] = field(default_factory=list)
    request_ids: list[str | None] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, str(request.transport.get_extra_info("peername"))))  # type: ignore[union-attr]
        self.request_ids.append(request.headers.get("X-Request-Id"))
        body = await request.json() if request.can_read_body else None
        self.bodies.append(body)
        await self.go_on.wait()
        asked = self.asked(request.path)
        if request.path == "/health":
            return web.Response(status=200 if self.healthy else 503)
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": n, "max_model_len": 64} for n in ("base", *self.loaded)]})
        if request.path == "/v1/load_lora_adapter" and self.status == 200:
            self.loaded.append(body["lora_name"])
        if asked <= self.lost:
            assert request.transport is not None
            request.transport.write(self.sent)
            request.transport.close()
            return web.Response()
        if self.status != 200:
            return web.json_response({"error": {"message": self.message}}, status=self.status)
        if body and body.get("stream"):
            return await self.stream(request)
        return web.json_response(self.answer)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in self.events:
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        if self.done:
            await response.write(b"data: [DONE]\n\n")
        return response

    def asked(self, path: str) -> int:
        return sum(p == path for p, _ in self.requests)


@pytest.fixture
async def stub() -> AsyncIterator[LossyEngine]:
    stub = LossyEngine()
    stub.go_on.set()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.handle)
    async with TestServer(app) as server:
        stub.url = str(server.make_url(""))
        yield stub


@pytest.fixture
async def engine(stub: LossyEngine) -> AsyncIterator[Engine]:
    async with engine_session() as session:
        yield Engine(session, stub.url, pauses=(0, 0, 0))


async def collect(engine: Engine) -> list[str]:
    return [event["choices"][0]["text"] async for event in engine.stream(BODY)]


async def test_every_request_has_a_connection_of_its_own(engine: Engine, stub: LossyEngine) -> None:
    for _ in range(3):
        await engine.complete(BODY)
    assert len({peer for _, peer in stub.requests}) == 3


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"], ids=["unanswered", "cut"])
async def test_a_completion_whose_connection_is_lost_is_repeated(
    engine: Engine, stub: LossyEngine, sent: bytes
) -> None:
    stub.lost, stub.sent = 3, sent
    assert (await engine.complete(BODY))["choices"] == [CHOICE]
    assert stub.bodies == [BODY] * 4


async def test_repetitions_are_bounded(engine: Engine, stub: LossyEngine) -> None:
    stub.lost = 100
    with pytest.raises(EngineUnreachable, match="the engine does not answer"):
        await engine.complete(BODY)
    assert len(stub.requests) == 4


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_engine_is_asked_again(engine: Engine, stub: LossyEngine, status: int) -> None:
    stub.status, stub.message = status, "busy"
    with pytest.raises(EngineUnreachable, match=f"the engine answered {status}: busy"):
        await engine.complete(BODY)
    assert len(stub.requests) == 4


async def test_a_refused_completion_is_not_repeated(engine: Engine, stub: LossyEngine) -> None:
    stub.status, stub.message = 400, "too long"
    with pytest.raises(EngineRefused, match="too long") as raised:
        await engine.complete(BODY)
    assert (raised.value.status, len(stub.requests)) == (400, 1)


async def test_an_engine_that_is_still_at_work_is_not_asked_again(
    engine: Engine, stub: LossyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.go_on.clear()
    monkeypatch.setattr(client, "GENERATE", aiohttp.ClientTimeout(sock_read=0.05))
    with pytest.raises(EngineUnreachable, match="SocketTimeoutError"):
        await engine.complete(BODY)
    stub.go_on.set()
    assert len(stub.requests) == 1


async def test_another_models_answer_is_no_answer(engine: Engine, stub: LossyEngine) -> None:
    stub.answer["model"] = "base"
    with pytest.raises(EngineUnreachable, match="answered as 'base' to a request for 'adapter-1'"):
        await engine.complete(BODY)
    stub.events = [EVENTS[0], {**EVENTS[1], "model": "base"}]
    with pytest.raises(EngineUnreachable, match="answered as 'base' to a request for 'adapter-1'"):
        await collect(engine)
    assert len(stub.requests) == 2


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([{**CHOICE, "finish_reason": "abort"}], "the engine ended the answer with 'abort'"),
        ([{**CHOICE, "finish_reason": "error"}], "the engine ended the answer with 'error'"),
        ([{**CHOICE, "finish_reason": None}], "the engine ended the answer with 'None'"),
        ([{"finish_reason": "stop"}], "the engine's response has no text"),
        (["x"], "the engine's response has no text"),
        ([], "the engine's response has no text"),
        (None, "the engine's response has no text"),
    ],
)
async def test_a_part_of_an_answer_is_no_answer(
    engine: Engine, stub: LossyEngine, choices: object, message: str
) -> None:
    """An engine that stops aborts what it is at; such a text looks like a whole one."""
    stub.answer["choices"] = choices
    with pytest.raises(EngineUnreachable, match=message):
        await engine.complete(BODY)
    assert len(stub.requests) == 4


async def test_a_stream_that_the_engine_aborts_is_no_answer(engine: Engine, stub: LossyEngine) -> None:
    stub.events = [EVENTS[0], {**EVENTS[1], "choices": [{"text": "", "finish_reason": "abort"}]}]
    with pytest.raises(EngineUnreachable, match="the engine ended the answer with 'abort'"):
        await collect(engine)


async def test_an_event_without_end_is_an_error(engine: Engine, stub: LossyEngine) -> None:
    stub.events = [EVENTS[0], {**EVENTS[1], "choices": [{"text": "x" * (1 << 20)}]}]
    with pytest.raises(EngineUnreachable, match="the engine does not answer"):
        await collect(engine)


async def test_a_stream_is_repeated_before_its_first_event(engine: Engine, stub: LossyEngine) -> None:
    stub.lost, stub.sent = 2, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert await collect(engine) == ["one ", "two"]
    assert len(stub.requests) == 3


@pytest.mark.parametrize(
    ("events", "done", "message"),
    [
        (EVENTS, False, "ended the stream early"),
        ([EVENTS[0], {"error": {"message": "engine died"}}], True, "ended the stream: engine died"),
    ],
)
async def test_a_stream_that_began_is_not_repeated(
    engine: Engine, stub: LossyEngine, events: list[dict[str, Any]], done: bool, message: str
) -> None:
    stub.events, stub.done = events, done
    with pytest.raises(EngineUnreachable, match=message):
        await collect(engine)
    assert len(stub.requests) == 1


async def test_a_loaded_adapter_is_not_loaded_again(engine: Engine, stub: LossyEngine) -> None:
    stub.loaded = ["adapter-1"]
    await engine.load("adapter-1", "/x")
    assert stub.asked("/v1/load_lora_adapter") == 0


async def test_a_load_whose_response_is_lost_is_looked_up(engine: Engine, stub: LossyEngine) -> None:
    stub.lost = 1
    await engine.load("adapter-1", "/x")
    assert (stub.loaded, stub.asked("/v1/load_lora_adapter")) == (["adapter-1"], 1)


async def test_a_load_that_a_running_engine_fails_is_refused(engine: Engine, stub: LossyEngine) -> None:
    stub.status, stub.message = 500, "LoRA rank 64 is greater than max_lora_rank 16."
    with pytest.raises(EngineRefused, match="rank 64 is greater") as raised:
        await engine.load("adapter-1", "/x")
    assert (raised.value.status, stub.asked("/v1/load_lora_adapter")) == (500, 1)


async def test_a_load_that_kills_the_engine_is_an_outage(engine: Engine, stub: LossyEngine) -> None:
    stub.status, stub.message, stub.healthy = 500, "EngineCore encountered an issue", False
    with pytest.raises(EngineUnreachable, match="EngineCore encountered an issue"):
        await engine.load("adapter-1", "/x")


async def test_the_engines_length_is_that_of_the_base(engine: Engine) -> None:
    assert await engine.max_length() == 64


async def test_an_engine_that_does_not_come_up_is_given_up(unused_tcp_port: int) -> None:
    async with engine_session() as session:
        engine = Engine(session, f"http://127.0.0.1:{unused_tcp_port}")
        with pytest.raises(EngineUnreachable, match="the engine was not ready after 0 s"):
            await engine.wait_until_healthy(0)


async def test_the_request_id_goes_along(engine: Engine, stub: LossyEngine) -> None:
    await engine.complete(BODY, request_id="r-1")
    async for _ in engine.stream(BODY, request_id="r-2"):
        pass
    await engine.models()
    assert stub.request_ids == ["r-1", "r-2", None]
