"""What the agent forwards, against a stub of the engine."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer

from loraform_api.heartbeat import adapter_name
from loraform_engine.client import completion
from loraform_engine.sampling import Sampling
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
        where = Operator(operator.mount(tmp_path), tmp_path / "token")
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
    body = {"model": adapter_name(adapter.digest), "prompt": [1], "max_tokens": 5, "stream": True}
    reply = await client.post("/v1/completions", json=body)
    assert reply.content_type == "text/event-stream"
    assert (await reply.text()).endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_leaves_ends_the_engines_work(serve, engine, make_adapter, make_route, stream) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    engine.entered.clear()
    engine.stalls, engine.gate = stream, None if stream else asyncio.Event()
    body = {"model": adapter_name(adapter.digest), "prompt": [1], "max_tokens": 5, "stream": stream}
    asked = asyncio.create_task(client.post("/v1/completions", json=body))
    await engine.entered.wait()
    if stream:
        (await asked).close()
    asked.cancel()
    await asyncio.wait_for(engine.left.wait(), 5)


@pytest.mark.parametrize("model", ["base", "adapter-0000000000000000"])
async def test_only_ready_adapters_answer(serve, engine, make_adapter, make_route, model) -> None:
    _, client = await serve(make_route(make_adapter()))
    before = len(engine.requests)
    reply = await client.post("/v1/completions", json={"model": model, "prompt": [1], "max_tokens": 5})
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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt_logprobs": 0}, "`prompt_logprobs` is not forwarded to the engine"),
        ({"x" * 100: 0}, f"`{'x' * 50}` is not forwarded to the engine"),
        ({"stream_options": {"include_usage": True, "x": 1}}, "`stream_options.x` is not forwarded to the engine"),
        ({"n": 5}, "`n` Input should be less than or equal to 4"),
        ({"n": "1"}, "`n` Input should be a valid integer"),
        ({"stop": ["a"] * 5}, "`stop` List should have at most 4 items"),
        ({"stop": [""]}, "`stop.0` String should have at least 1 character"),
        ({"stop": ["x" * 201]}, "`stop.0` String should have at most 200 characters"),
        ({"presence_penalty": 3}, "`presence_penalty` Input should be less than or equal to 2"),
        ({"repetition_penalty": 0}, "`repetition_penalty` Input should be greater than or equal to 0.1"),
        ({"top_k": 2**40}, "`top_k` Input should be less than or equal to 1000000"),
        ({"min_p": 2}, "`min_p` Input should be less than or equal to 1"),
        ({"seed": 2**63}, "`seed` "),
        ({"prompt": "text"}, "`prompt` Input should be a valid array"),
        ({"prompt": [-1]}, "`prompt.0` Input should be greater than or equal to 0"),
        ({"max_tokens": 0}, "`max_tokens` Input should be greater than or equal to 1"),
        ({"model": 7}, "`model` Input should be a valid string"),
    ],
)
async def test_what_the_gateway_never_sends_is_refused(
    serve, engine, make_adapter, make_route, fields, message
) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    before = len(engine.requests)
    body = {"model": adapter_name(adapter.digest), "prompt": [1], "max_tokens": 5, **fields}
    reply = await client.post("/v1/completions", json=body)
    assert reply.status == 400
    assert (await reply.json())["error"]["message"].startswith(message)
    assert len(engine.requests) == before


async def test_what_the_gateway_sends_is_forwarded_as_it_is(serve, engine, make_adapter, make_route) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    sampling = Sampling(temperature=0.7, top_k=40, min_p=0.1, presence_penalty=1, stop=["END"], seed=-(2**63))
    sent = completion(adapter_name(adapter.digest), [1, 2], max_tokens=5, stops=[1, 7], sampling=sampling, n=4)
    assert (await client.post("/v1/completions", json=sent)).status == 200
    assert engine.requests[-1] == sent


async def test_a_field_that_is_there_twice_is_forwarded_once(serve, engine, make_adapter, make_route) -> None:
    adapter = make_adapter()
    _, client = await serve(make_route(adapter))
    body = f'{{"model": "{adapter_name(adapter.digest)}", "prompt": [1], "max_tokens": 5, "n": 9, "n": 1}}'
    assert (await client.post("/v1/completions", data=body.encode())).status == 200
    assert engine.requests[-1]["n"] == 1


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
    body = {"model": adapter_name(adapter.digest), "prompt": [1], "max_tokens": 5}
    headers = {"X-Request-Id": "caller-1"}
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
