"""What the agent forwards, against a stub of the engine."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer

from loraform_api.heartbeat import adapter_name
from loraform_gateway.agent import Agent
from loraform_gateway.route import Operator, RouteFollower


@pytest.fixture
async def serve(engine, operator, session, tmp_path):
    """Start an agent that follows `route`; its loops are run by hand."""
    (tmp_path / "token").write_text("t")
    clients = []

    async def start(route) -> tuple[Agent, TestClient]:
        operator.route = route
        agent = Agent(session, engine.url)
        where = Operator(operator.url, tmp_path / "ca", tmp_path / "token")
        follower = RouteFollower(tmp_path / "none", where, lambda r: agent.heartbeat("pod-a", r), period=3600)
        app = agent.application(follower)
        app.cleanup_ctx.clear()
        await follower.beat(session)
        await agent.loader.reconcile(route)
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return agent, client

    yield start
    for client in clients:
        await client.close()


async def test_completions_of_a_ready_adapter_are_forwarded(serve, engine, make_adapter, make_route) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    reply = await client.post(
        "/v1/completions", json={"model": adapter_name(adapter.digest), "prompt": [1, 2], "max_tokens": 5}
    )
    assert reply.status == 200
    assert (await reply.json())["choices"][0]["text"] == engine.text


async def test_streams_are_forwarded(serve, make_adapter, make_route) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    body = {"model": adapter_name(adapter.digest), "prompt": [1], "stream": True}
    reply = await client.post("/v1/completions", json=body)
    assert reply.content_type == "text/event-stream"
    assert (await reply.text()).endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_leaves_ends_the_engines_work(serve, engine, make_adapter, make_route, stream) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    engine.entered.clear()
    engine.stalls, engine.gate = stream, None if stream else asyncio.Event()
    body = {"model": adapter_name(adapter.digest), "prompt": [1], "stream": stream}
    asked = asyncio.create_task(client.post("/v1/completions", json=body))
    await engine.entered.wait()
    if stream:
        (await asked).close()
    asked.cancel()
    await asyncio.wait_for(engine.left.wait(), 5)


@pytest.mark.parametrize("model", ["base", "adapter-0000000000000000", 7, None])
async def test_only_ready_adapters_answer(serve, engine, make_adapter, make_route, model) -> None:
    _, client = await serve(make_route(make_adapter()))
    before = len(engine.requests)
    reply = await client.post("/v1/completions", json={"model": model, "prompt": [1]})
    assert reply.status == 503
    assert reply.headers["Retry-After"] == "5"
    assert len(engine.requests) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/pause"),
        ("POST", "/tokenize"),
        ("POST", "/invocations"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/metrics"),
        ("POST", "/v1/completions/../../pause"),
        ("POST", "/v1%2Fload_lora_adapter"),
    ],
)
async def test_every_other_path_is_not_found(serve, engine, make_route, method, path) -> None:
    _, client = await serve(make_route())
    reply = await client.request(method, path, json={})
    assert reply.status == 404
    assert engine.calls == []


async def test_other_fields_than_the_gateways_are_refused(serve, engine, make_adapter, make_route) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    before = len(engine.requests)
    body = {"model": adapter_name(adapter.digest), "prompt": [1], "prompt_logprobs": 0}
    reply = await client.post("/v1/completions", json=body)
    assert reply.status == 400
    assert (await reply.json())["error"]["message"] == "`prompt_logprobs` is not forwarded to the engine"
    assert len(engine.requests) == before


async def test_bodies_must_be_json(serve, make_route) -> None:
    _, client = await serve(make_route())
    assert (await client.post("/v1/completions", data=b"\xff{")).status == 400
    assert (await client.post("/v1/completions", json=[1])).status == 400


async def test_the_agent_is_ready_when_the_live_adapter_is(serve, engine, make_adapter, make_route) -> None:
    engine.applies_adapters = False
    _, client = await serve(make_route(make_adapter()))
    assert (await client.get("/readyz")).status == 503
    assert (await client.get("/healthz")).status == 200
    engine.applies_adapters = True
    engine.loaded.clear()
    _, client = await serve(make_route(make_adapter(2)))
    assert (await client.get("/readyz")).status == 200


async def test_the_reason_of_an_error_is_logged_with_the_request_id(
    serve, engine, make_adapter, make_route, caplog
) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    body, headers = {"model": adapter_name(adapter.digest), "prompt": [1]}, {"X-Request-Id": "caller-1"}
    engine.loaded.clear()
    reply = await client.post("/v1/completions", json=body, headers=headers)
    assert (reply.status, reply.headers["X-Request-Id"]) == (404, "caller-1")
    assert "request caller-1: the engine answered 404" in caplog.text
    await engine.server.close()
    reply = await client.post("/v1/completions", json=body, headers=headers)
    assert (reply.status, (await reply.json())["error"]["request_id"]) == (503, "caller-1")
    assert "request caller-1: 503 engine_unreachable: " in caplog.text
    assert "Cannot connect to host" in caplog.text


async def test_heartbeats_list_the_adapters(serve, operator, make_adapter, make_route) -> None:
    adapter = make_adapter()
    agent, _ = await serve(make_route(adapter))
    beat = agent.heartbeat("pod-a", "r1")
    assert (beat.role, beat.route_revision) == ("agent", "r1")
    assert [(a.digest, a.state.value) for a in beat.adapters] == [(adapter.digest, "Ready")]
