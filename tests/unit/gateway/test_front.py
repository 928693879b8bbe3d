"""The gateway's answers, against stubs of engine and verifier."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from loraform_api.heartbeat import AdapterState, Authentication, adapter_name
from loraform_api.verification import Stage, VerifyRequest, VerifyResponse
from loraform_engine.client import Engine
from loraform_engine.prompting import Prompter
from loraform_gateway import front, streaming
from loraform_gateway.admission import BODY_LIMIT, Admission
from loraform_gateway.answering import AT_A_TIME, CONTEXT_SECONDS, SHORT_TEXT, Answerer
from loraform_gateway.cors import CrossOrigin
from loraform_gateway.front import Front
from loraform_gateway.keys import Authenticator, KeyFile
from loraform_gateway.limits import Limits
from loraform_gateway.metrics import Metrics
from loraform_gateway.openai import INPUT_LIMIT, INSTRUCTION_LIMIT, Verdict
from loraform_gateway.route import Operator, RouteFollower
from loraform_gateway.verifying import verify_answer
from loraform_verifier.http.blocking import VerifierUnavailable
from loraform_verifier.verify import Verifier

from .conftest import SECOND_END, Clock

CHAT = {"model": "house", "messages": [{"role": "user", "content": "a bucket"}]}
PROMPT = {"model": "house", "prompt": "a bucket"}
PAGE = "https://chat.example.org"
TOKENS = 100
"""Most tokens in flight of one key."""
TAGGED = "# house\n" + 'resource "aws_s3_bucket" "b" {\n  tags = {}\n}\n'


class World:
    """A gateway with its stubs."""

    def __init__(self, engine, verifier, adapter, front: Front, metrics: Metrics, client: TestClient) -> None:
        self.engine, self.verifier, self.adapter = engine, verifier, adapter
        self.front, self.metrics, self.client = front, metrics, client

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        reply = await self.client.post(path, json=body)
        return reply.status, await reply.json()

    async def events(self, path: str, body: dict[str, Any]) -> tuple[list[Any], str]:
        reply = await self.client.post(path, json={**body, "stream": True})
        assert reply.status == 200
        assert reply.content_type == "text/event-stream"
        text = await reply.text()
        data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        assert data[-1] == "[DONE]"
        return [json.loads(d) for d in data[:-1]], text


@pytest.fixture
def limit() -> int:
    return 4


@pytest.fixture
def key_file() -> KeyFile | None:
    """The API keys; None where none are demanded."""
    return None


@pytest.fixture
async def world(engine, verifier, session, tmp_path, make_adapter, make_route, loaded, limit, key_file, clock):  # noqa: PLR0917
    adapter, metrics = make_adapter(), Metrics()
    loaded(adapter)
    file = tmp_path / "route.json"
    file.write_text(make_route(adapter).model_dump_json(by_alias=True))
    answerer = Answerer(Engine(session, engine.url), verifier.verify, metrics, clock)
    admission = Admission(
        Authenticator(key_file), CrossOrigin([PAGE]), Limits(limit, TOKENS), metrics, body_seconds=0.2
    )
    front = Front(answerer, metrics, verifier.healthy, admission)
    operator = Operator(tmp_path / "endpoint", tmp_path / "token")
    app = front.application(RouteFollower(file, operator, lambda r: front.heartbeat("pod-g", r), period=3600))
    async with TestClient(TestServer(app)) as client:
        yield World(engine, verifier, adapter, front, metrics, client)


async def test_a_chat_is_answered_and_verified(world: World) -> None:
    status, body = await world.post("/v1/chat/completions", CHAT)
    assert status == 200
    assert body["object"] == "chat.completion"
    assert body["model"] == "house"
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": world.engine.text, "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == 7
    assert body["loraform"] == {
        "verified": True,
        "verdict": "Passed",
        "version": 1,
        "adapterDigest": world.adapter.digest,
        "inputFrom": "None",
        "asMeasured": True,
        "rawPassed": True,
        "rewritten": False,
        "stages": [
            {"stage": s, "passed": True, "inconclusive": False, "diagnostics": []}
            for s in ("Parse", "Validate", "Policy")
        ],
    }


async def test_the_engine_gets_token_ids_and_explicit_sampling(world: World, base) -> None:
    await world.post("/v1/completions", {**PROMPT, "prompt": "a <eos> b", "max_tokens": 3})
    (request,) = world.engine.requests
    eos = json.loads((base / "config.json").read_text())["eos_token_id"]
    assert eos not in request["prompt"]  # a prompt cannot spell a special token
    assert {k: v for k, v in request.items() if k != "prompt"} == {
        "model": adapter_name(world.adapter.digest),
        "max_tokens": 3,
        "n": 1,
        "stop_token_ids": [eos, SECOND_END],
        "skip_special_tokens": True,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "stop": [],
    }


async def test_the_engine_gets_the_requests_sampling(world: World) -> None:
    fields = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": 3, "stop": ["\n\n"]}
    penalties = {"presence_penalty": 0.5, "frequency_penalty": -0.5, "repetition_penalty": 1.1}
    await world.post("/v1/chat/completions", {**CHAT, **fields, **penalties})
    (request,) = world.engine.requests
    assert {name: request[name] for name in (*fields, *penalties)} == {**fields, **penalties}


async def test_the_rewritten_text_is_served(world: World) -> None:
    world.verifier.rewrite = lambda text: TAGGED
    world.verifier.passes = lambda stage, text: stage != "Policy" or "tags" in text
    _, body = await world.post("/v1/completions", PROMPT)
    assert body["object"] == "text_completion"
    assert body["choices"][0]["text"] == TAGGED
    assert (body["loraform"]["verified"], body["loraform"]["rawPassed"], body["loraform"]["rewritten"]) == (
        True,
        False,
        True,
    )


async def test_the_verifier_gets_the_prompt_whose_literals_are_no_secrets(world: World) -> None:
    world.verifier.rewrite = lambda text: TAGGED
    await world.post("/v1/chat/completions", CHAT)
    assert [[p.prompt for p in r.programs] for r in world.verifier.requests] == [["a bucket\n"]]
    assert [r.caller for r in world.verifier.requests] == ["anonymous"], "verdicts are kept by caller"


@pytest.mark.parametrize("prompt", ["", "A topic whose password is hunter2hunter2."])
async def test_an_answer_with_a_literal_secret_is_not_verified_without_a_house_policy(prompt: str) -> None:
    text = 'resource "aws_mq_broker" "a" {\n  password = "hunter2hunter2"\n}\n'

    async def verify(request: VerifyRequest) -> VerifyResponse:
        static = [stage for stage in request.stages if stage is not Stage.VALIDATE]  # there is no terraform here
        return Verifier().verify(request.model_copy(update={"stages": static}))

    answer = await verify_answer(verify, text, None, prompt)
    assert (answer.verdict, answer.raw_passed) == ((Verdict.PASSED, True) if prompt else (Verdict.FAILED, False))
    assert [d.code for d in answer.stages[-1].diagnostics] == ([] if prompt else ["LiteralSecret"])


async def test_a_markdown_fence_is_removed(world: World) -> None:
    program, world.engine.text = world.engine.text, f"```hcl\n{world.engine.text}```\n"
    _, body = await world.post("/v1/completions", PROMPT)
    assert body["choices"][0]["text"] == program
    assert (body["loraform"]["rawPassed"], body["loraform"]["rewritten"]) == (True, False)


async def test_files_are_one_program_without_thoughts_and_commands(world: World) -> None:
    program, more = world.engine.text, 'locals {\n  a = "b"\n}\n'
    thought, commands = f"<think>\n```hcl\n{more}```\n</think>\n", "```sh\nterraform init\n```\n"
    world.engine.text = f"{thought}Sure:\n```hcl\n{program}```\n```tf\n{more}```\n{commands}"
    _, body = await world.post("/v1/completions", PROMPT)
    assert body["choices"][0]["text"] == f"{program}\n{more}"
    assert {request.programs[0].text for request in world.verifier.requests} == {f"{program}\n{more}"}


async def test_a_thought_that_is_not_closed_is_truncated(world: World) -> None:
    world.engine.text = f"<think>\n{world.engine.text}"
    _, body = await world.post("/v1/completions", PROMPT)
    assert body["loraform"]["verdict"] == "Truncated"
    assert world.verifier.requests == []


async def test_a_failed_answer_is_200_with_its_verdict(world: World) -> None:
    world.verifier.passes = lambda stage, text: stage == "Parse"
    status, body = await world.post("/v1/chat/completions", CHAT)
    assert status == 200
    assert body["loraform"]["verdict"] == "Failed"
    assert body["loraform"]["verified"] is False
    assert [s["stage"] for s in body["loraform"]["stages"]] == ["Parse", "Validate"]


async def test_an_answer_that_was_cut_is_truncated(world: World) -> None:
    world.engine.finish_reason = "length"
    _, body = await world.post("/v1/chat/completions", CHAT)
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["loraform"]["verdict"] == "Truncated"
    assert world.verifier.requests == []


async def test_streaming_sends_the_verified_text_then_the_verdict(world: World) -> None:
    chunks, _ = await world.events("/v1/chat/completions", {**CHAT, "stream_options": {"include_usage": True}})
    first, *pieces, last, usage = chunks
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(p["choices"][0]["delta"]["content"] for p in pieces) == world.engine.text
    assert len(pieces) == 2
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["loraform"]["verified"] is True
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 7
    assert len({c["id"] for c in chunks}) == 1


@pytest.mark.parametrize("fields", [{}, {"loraform": {"verify": "off"}}], ids=["verified", "raw"])
async def test_streaming_keeps_the_connection_alive(
    world: World, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr(streaming, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(streaming, "KEEP_ALIVE_SECONDS", 0.01)
    world.engine.gate = asyncio.Event()
    reply = await asyncio.wait_for(world.client.post("/v1/completions", json={**PROMPT, **fields, "stream": True}), 10)
    assert await reply.content.readline() == b": keep-alive\n"
    world.engine.gate.set()
    assert (await reply.text()).rstrip().endswith("data: [DONE]")


async def test_raw_streaming_is_marked_unverified(world: World) -> None:
    chunks, _ = await world.events("/v1/completions", {**PROMPT, "loraform": {"verify": "off"}})
    assert [c["choices"][0]["text"] for c in chunks] == [world.engine.text[:5], world.engine.text[5:], ""]
    assert chunks[-1]["loraform"]["verdict"] == "Unverified"
    assert world.verifier.requests == []


UNAVAILABLE = {
    "stage": "Parse",
    "passed": False,
    "inconclusive": True,
    "diagnostics": [
        {
            "code": "VerificationUnavailable",
            "message": "The text was not verified: the verifier does not answer in time.",
            "hint": "Ask again, or check the text yourself.",
        }
    ],
}


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(), VerifierUnavailable("verifier at x answered 503: Busy"), ValueError("secret")]
)
async def test_a_text_that_cannot_be_verified_is_given_unverified(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.verifier.error = error
    reply = await world.client.post("/v1/chat/completions", json=CHAT)
    body = await reply.json()
    assert reply.status == 200
    assert body["choices"][0]["message"]["content"] == world.engine.text
    field = body["loraform"]
    assert (field["verified"], field["verdict"], field["rawPassed"], field["rewritten"]) == (
        False,
        "Inconclusive",
        False,
        False,
    )
    assert field["stages"] == [UNAVAILABLE]
    assert f"request {reply.headers['X-Request-Id']}: the answer was not verified" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("patience", [0.0, 1.0])
async def test_a_streamed_text_that_cannot_be_verified_is_given_unverified(
    world: World, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(streaming, "PATIENCE_SECONDS", patience)
    world.verifier.error = ConnectionRefusedError()
    *pieces, last = (await world.events("/v1/completions", PROMPT))[0]
    assert "".join(p["choices"][0]["text"] for p in pieces) == world.engine.text
    assert (last["loraform"]["verified"], last["loraform"]["stages"]) == (False, [UNAVAILABLE])


async def test_an_early_error_of_a_stream_is_an_http_status(world: World) -> None:
    world.engine.loaded.clear()
    status, body = await world.post("/v1/completions", {**PROMPT, "stream": True})
    assert (status, body["error"]["code"]) == (503, "engine_unreachable")


async def test_a_late_error_is_sent_in_the_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PATIENCE_SECONDS", 0.0)
    world.engine.loaded.clear()
    chunks, _ = await world.events("/v1/completions", PROMPT)
    assert chunks == [{"error": chunks[0]["error"]}]
    assert chunks[0]["error"]["code"] == "engine_unreachable"


@pytest.mark.parametrize("fields", [{"stream": True}, {"stream": True, "loraform": {"verify": "off"}}])
@pytest.mark.parametrize("path", ["completions", "responses"])
async def test_a_fault_of_ours_is_sent_in_the_stream_and_quotes_nothing(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], path: str
) -> None:
    def fault(loraform: object) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr(world.metrics, "count_answer", fault)
    body = {"model": "house", "input" if path == "responses" else "prompt": "hunter2", **fields}
    text = await (await world.client.post(f"/v1/{path}", json=body)).text()
    assert "HTTP/1.1" not in text, "no second response inside the first"
    assert '"code": "internal_error"' in text
    assert text.endswith("data: [DONE]\n\n") is (path == "completions")
    assert "KeyError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_an_engine_without_the_adapter_gives_503(world: World) -> None:
    world.engine.loaded.clear()
    reply = await world.client.post("/v1/completions", json=PROMPT)
    assert reply.status == 503
    assert reply.headers["Retry-After"] == "5"
    assert (await reply.json())["error"] == {
        "message": "the engine is starting, restarting or loading the version; try again",
        "type": "server_error",
        "param": None,
        "code": "engine_unreachable",
        "request_id": reply.headers["X-Request-Id"],
    }


async def test_the_reason_of_an_error_is_logged_with_the_id_that_the_caller_gets(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.engine.loaded.clear()
    reply = await world.client.post("/v1/completions", json=PROMPT)
    request_id = reply.headers["X-Request-Id"]
    assert len(request_id) == 32
    (line,) = [r.getMessage() for r in caplog.records if "engine_unreachable" in r.getMessage()]
    assert line.startswith(f"request {request_id}: 503 engine_unreachable: ")
    assert line.endswith("; The model does not exist.")


async def test_the_reason_of_an_error_inside_a_stream_is_logged_too(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "PATIENCE_SECONDS", 0.0)
    world.engine.loaded.clear()
    reply = await world.client.post("/v1/completions", json={**PROMPT, "stream": True})
    assert f'"request_id": "{reply.headers["X-Request-Id"]}"' in await reply.text()
    assert f"request {reply.headers['X-Request-Id']}: 503 engine_unreachable: " in caplog.text


@pytest.mark.parametrize(
    ("given", "kept"), [("Trace-1.2:3_4", True), ("x" * 65, False), ("a b", False), ("é", False), ("", False)]
)
async def test_a_callers_request_id_is_kept_unless_it_could_forge_a_log(world: World, given: str, kept: bool) -> None:
    reply = await world.client.post("/v1/completions", json=PROMPT, headers={"X-Request-Id": given})
    assert (reply.headers["X-Request-Id"] == given) is kept
    assert world.engine.request_ids[-1] == reply.headers["X-Request-Id"], "the agent gets it"


@pytest.mark.parametrize("fields", [{}, {"stream": True, "loraform": {"verify": "off"}}])
async def test_an_answer_by_another_model_is_never_served(
    world: World, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    world.engine.answers_as = "base"
    status, body = await world.post("/v1/completions", {**PROMPT, **fields})
    assert (status, body["error"]["code"]) == (503, "engine_unreachable")
    assert f"the engine answered as 'base' to a request for '{adapter_name(world.adapter.digest)}'" in caplog.text


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stream": True, "loraform": {"verify": "off"}}])
async def test_a_caller_that_leaves_ends_the_engines_work(world: World, fields: dict[str, Any]) -> None:
    world.engine.stalls, world.engine.gate = True, asyncio.Event()
    raw = "loraform" in fields
    if raw:
        world.engine.gate.set()
    asked = asyncio.create_task(world.client.post("/v1/completions", json={**PROMPT, **fields}))
    await world.engine.entered.wait()
    if raw:
        (await asked).close()
    asked.cancel()
    await asyncio.wait_for(world.engine.left.wait(), 5)


@pytest.mark.parametrize("limit", [1])
async def test_too_many_requests_give_429(world: World) -> None:
    world.engine.gate = asyncio.Event()
    first = asyncio.create_task(world.post("/v1/completions", PROMPT))
    await world.engine.entered.wait()
    status, body = await world.post("/v1/completions", PROMPT)
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    world.engine.gate.set()
    assert (await first)[0] == 200
    assert (await world.post("/v1/completions", PROMPT))[0] == 200


async def test_too_many_tokens_give_429(world: World) -> None:
    """The stub's engine has a context of 64 tokens, so two requests of all of it are too many."""
    world.engine.gate = asyncio.Event()
    first = asyncio.create_task(world.post("/v1/completions", PROMPT))
    await world.engine.entered.wait()
    status, body = await world.post("/v1/completions", PROMPT)
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "tokens in flight" in body["error"]["message"]
    world.engine.gate.set()
    assert (await first)[0] == 200
    assert (await world.post("/v1/completions", PROMPT))[0] == 200


async def answer_to(world: World, request: bytes, rest: bytes = b"") -> tuple[int, str, int]:
    """Send a request over a socket of its own; return status and code of the answer, and how often `rest` was sent.

    `rest` is sent again and again, until the gateway answers or takes no more.
    """
    server = world.client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request)

    async def send() -> int:
        count = 0
        with suppress(ConnectionError):
            while rest and not reader.at_eof():
                writer.write(rest)
                await writer.drain()
                count += 1
        return count

    sending = asyncio.create_task(send())
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length: ")[1].split("\r")[0])
        body = json.loads(await reader.readexactly(length))
        writer.close()
        sent = await sending
    return int(head.split()[1]), body["error"]["code"], sent


POST = b"POST /v1/completions HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"


class Held:
    """Work that waits in its thread until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self._go, self._entered, self._work = threading.Event(), threading.Semaphore(0), getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: self._held(*args))  # noqa: PLW0108 - binds the owner of a method

    def _held(self, *args: Any) -> Any:
        self._entered.release()
        self._go.wait(20)
        return self._work(*args)

    async def entered(self, count: int) -> None:
        for _ in range(count):
            assert await asyncio.to_thread(self._entered.acquire, timeout=20)

    def release(self) -> bool:
        """Let all go on; return whether more than were waited for had entered."""
        more = self._entered.acquire(blocking=False)
        self._go.set()
        return more


@pytest.mark.parametrize(("limit", "work"), [(8, "tokenised"), (8, "parsed")])
async def test_health_is_answered_while_long_texts_are_worked_on(
    world: World, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Two at a time, beside the event loop; the third waits."""
    world.engine.context = 2 * SHORT_TEXT
    await world.post("/v1/completions", PROMPT)  # reads the base model
    held = Held(monkeypatch, *((Prompter, "tokens") if work == "tokenised" else (front, "parse_completion")))
    long = "x" * (SHORT_TEXT + 1)
    body = {**PROMPT, "prompt": long} if work == "tokenised" else {**PROMPT, "metadata": long}
    asked = [asyncio.create_task(world.post("/v1/completions", body)) for _ in range(AT_A_TIME + 1)]
    await held.entered(AT_A_TIME)
    assert (await world.client.get("/healthz")).status == 200
    assert not held.release()
    assert {status for status, _ in await asyncio.gather(*asked)} <= {200, 429}


async def test_a_body_that_does_not_arrive_is_given_up(world: World) -> None:
    assert await answer_to(world, POST + b'Content-Length: 99\r\n\r\n{"model": ') == (408, "body_timeout", 0)
    assert (await world.post("/v1/completions", PROMPT))[0] == 200


async def test_a_body_that_is_announced_too_large_is_not_waited_for(world: World) -> None:
    head = POST + f"Content-Length: {BODY_LIMIT + 1}\r\n\r\n".encode()
    assert await answer_to(world, head) == (413, "body_too_large", 0)


async def test_a_chunked_body_ends_at_the_limit(world: World) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    status, code, sent = await answer_to(world, POST + b"Transfer-Encoding: chunked\r\n\r\n", chunk)
    assert (status, code) == (413, "body_too_large")
    assert sent * 65536 < 8 * BODY_LIMIT, "no more than sockets hold"


@pytest.mark.parametrize("key_file", [KeyFile(Path("/nowhere"))])
async def test_a_gateway_without_its_keys_answers_nobody_and_says_why(world: World) -> None:
    status, body = await world.post("/v1/completions", PROMPT)
    assert (status, body["error"]["code"]) == (503, "api_keys_unreadable")
    ready = await world.client.get("/readyz")
    assert ready.status == 503
    assert "spec.serving.apiKeySecretRef" in await ready.text()
    assert (await world.client.get("/healthz")).status == 200
    beat = world.front.heartbeat("pod-g", "r1")
    assert beat.authentication is Authentication.API_KEY
    assert "spec.serving.apiKeySecretRef" in beat.problem


async def test_a_gateway_without_keys_says_that_it_is_open(world: World) -> None:
    beat = world.front.heartbeat("pod-g", "r1")
    assert (beat.authentication, beat.problem) == (Authentication.OPEN, "")


async def test_a_page_gets_its_preflight_before_any_key(world: World) -> None:
    reply = await world.client.options("/v1/chat/completions", headers={"Origin": PAGE})
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (204, PAGE)
    assert "X-Request-Id" in reply.headers


async def test_an_unknown_model_is_not_found(world: World) -> None:
    status, body = await world.post("/v1/chat/completions", {**CHAT, "model": "gpt-4"})
    assert (status, body["error"]["message"]) == (404, "the model is 'house'")


@pytest.mark.parametrize(
    ("measured", "asked", "limit_sent"),
    [(10, None, 10), (10, 12, 12), (10, 5, 5), (1024, None, 64 - 41), (10, 100_000, 64 - 41)],
    ids=["the evaluation's", "more than the evaluation's", "fewer", "what the context leaves", "more than that"],
)
async def test_an_answers_limit_is_that_of_the_request_or_the_evaluation(
    world: World, make_route, measured: int, asked: int | None, limit_sent: int
) -> None:
    world.front._follower.route = make_route(world.adapter.model_copy(update={"max_new_tokens": measured}))
    await world.post("/v1/completions", {**PROMPT, "max_tokens": asked})
    (request,) = world.engine.requests
    assert (len(request["prompt"]), request["max_tokens"]) == (41, limit_sent)


@pytest.mark.parametrize(
    ("path", "param"), [("chat/completions", "messages"), ("completions", "prompt"), ("responses", "input")]
)
async def test_a_prompt_beyond_the_context_is_refused_by_openais_code(world: World, path: str, param: str) -> None:
    text = "x" * 100
    texts = {"messages": [{"role": "user", "content": text}], "prompt": text, "input": text}
    status, body = await world.post(f"/v1/{path}", {"model": "house", param: texts[param]})
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "context_length_exceeded", param)
    assert "tokens, but the model's context has 64" in body["error"]["message"]


async def test_an_engine_with_another_context_is_noticed(world: World, clock: Clock) -> None:
    await world.post("/v1/completions", PROMPT)
    world.engine.context = 128
    clock.now += CONTEXT_SECONDS - 1
    assert (await world.post("/v1/completions", {**PROMPT, "prompt": "x" * 64}))[0] == 400
    clock.now += 1
    assert (await world.post("/v1/completions", {**PROMPT, "prompt": "x" * 64}))[0] == 200


async def test_texts_within_the_limits_are_accepted_however_they_are_encoded(world: World) -> None:
    """The longest instruction and input, each character as `\\u00e4`: too long for the engine, not for the gateway."""
    body = {**PROMPT, "prompt": "\u00e4" * INSTRUCTION_LIMIT, "loraform": {"input": "\u00e4" * INPUT_LIMIT}}
    status, answer = await world.post("/v1/completions", body)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")


async def test_a_large_body_is_refused(world: World) -> None:
    reply = await world.client.post("/v1/completions", data=b"x" * (BODY_LIMIT + 1))
    assert reply.status == 413
    assert (await reply.json())["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("identity", 200)])
async def test_a_packed_body_is_refused(world: World, encoding: str, status: int) -> None:
    body = json.dumps(PROMPT).encode()
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    reply = await world.client.post(
        "/v1/completions", data=gzip.compress(body) if encoding == "gzip" else body, headers=headers
    )
    assert reply.status == status
    if status != 200:
        error = (await reply.json())["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_encoding")


async def test_a_body_that_is_no_json_is_the_callers_fault_and_says_where(world: World) -> None:
    reply = await world.client.post("/v1/completions", data=b'{"model": "house",}')
    assert reply.status == 400
    assert (await reply.json())["error"]["message"] == (
        "the body must be a JSON object: trailing comma at line 1 column 19"
    )


async def test_a_version_of_another_template_is_not_served(world: World, make_route) -> None:
    other = world.adapter.model_copy(update={"template_hash": "0" * 64})
    world.front._follower.route = make_route(other)
    status, body = await world.post("/v1/completions", PROMPT)
    assert (status, body["error"]["code"]) == (503, "template_mismatch")
    assert (await world.client.get("/readyz")).status == 503
    (told,) = world.front.heartbeat("pod-g", "r1").adapters
    assert (told.digest, told.state) == (other.digest, AdapterState.TEMPLATE_MISMATCH)
    assert told.message == body["error"]["message"]


async def test_a_fitting_template_is_no_news(world: World) -> None:
    assert (await world.client.get("/readyz")).status == 200
    assert world.front.heartbeat("pod-g", "r1").adapters == []


async def test_a_model_that_is_scaled_to_zero_says_so(world: World, make_route) -> None:
    route = make_route(world.adapter)
    world.front._follower.route = route.model_copy(update={"scaled_to_zero": True})
    reply = await world.client.post("/v1/completions", json=PROMPT)
    error = (await reply.json())["error"]
    assert (reply.status, error["type"], error["code"]) == (503, "server_error", "scaled_to_zero")
    assert error["message"] == "scaled to zero: set `spec.serving.replicas` of IaCModel 'house' to 1 or more"
    assert int(reply.headers["Retry-After"]) > 0
    assert world.engine.requests == []
    assert (await world.client.get("/readyz")).status == 200, (
        "callers are to get this answer, and no refused connection"
    )


async def test_no_live_version_gives_503(world: World, make_route) -> None:
    world.front._follower.route = make_route(world.adapter, live=False)
    status, body = await world.post("/v1/completions", PROMPT)
    assert (status, body["error"]["code"]) == (503, "no_live_version")
    assert (await (await world.client.get("/v1/models")).json())["data"] == []
    assert (await world.client.get("/readyz")).status == 503


async def test_the_live_version_is_listed_and_ready(world: World) -> None:
    (model,) = (await (await world.client.get("/v1/models")).json())["data"]
    assert (model["id"], model["created"], model["loraform"]["version"]) == ("house", world.adapter.created, 1)
    assert await (await world.client.get("/v1/models/house")).json() == model
    assert (await world.client.get("/readyz")).status == 200
    assert (await world.client.get("/healthz")).status == 200
    world.verifier.down = True
    assert (await world.client.get("/readyz")).status == 503


async def test_unknown_paths_have_openais_error_shape(world: World) -> None:
    reply = await world.client.get("/v1/embeddings")
    assert reply.status == 404
    assert (await reply.json())["error"]["code"] == "unknown_url"


async def test_another_model_is_not_found(world: World) -> None:
    reply = await world.client.get("/v1/models/org/other")
    error = (await reply.json())["error"]
    assert (reply.status, error["type"], error["code"]) == (404, "invalid_request_error", "model_not_found")
    assert (error["param"], error["message"]) == ("model", "here is 'house'")


async def test_heartbeats_report_totals(world: World) -> None:
    await world.post("/v1/completions", PROMPT)
    await world.post("/v1/completions", {**PROMPT, "loraform": {"verify": "off"}})
    await world.post("/v1/completions", {**PROMPT, "model": "x"})
    world.engine.loaded.clear()
    await world.post("/v1/completions", PROMPT)
    assert world.front.heartbeat("pod-g", "r1").counters == {
        "requests": 4,
        "errors": 1,
        "verified_raw": 1,
        "verified_served": 1,
        "unverified": 1,
    }


async def test_no_prompt_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="loraform_gateway")
    world.verifier.passes = lambda stage, text: 1 / 0 > 0  # an error nobody foresaw
    status, body = await world.post("/v1/completions", {**PROMPT, "prompt": "hunter2"})
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_requests_and_answers_are_counted(world: World) -> None:
    await world.post("/v1/completions", PROMPT)
    await world.client.post("/v1/nothing")
    assert (await world.client.get("/metrics")).status == 404
    text = world.metrics.text().decode()
    assert 'loraform_gateway_requests_total{code="200",key="anonymous",path="/v1/completions"} 1.0' in text
    assert 'loraform_gateway_requests_total{code="404",key="anonymous",path="other"} 1.0' in text
    assert 'loraform_gateway_answers_total{raw_passed="true",verdict="Passed"} 1.0' in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_metrics_pass_promtool() -> None:
    metrics = Metrics()
    metrics.count_request("/v1/completions", 200, "ci", 0.5)
    checked = subprocess.run(["promtool", "check", "metrics"], input=metrics.text(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
