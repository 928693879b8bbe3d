"""A real Prometheus reads the gateway's metrics, and the engine's through its agent."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from loraform_gateway import agent as agents
from loraform_gateway.agent import Agent
from loraform_gateway.listening import listening_socket, serving
from loraform_gateway.metrics import TEXT_TYPE, Metrics

from ..waiting import free_port

ENGINE_METRICS = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 3.0\n'
DEADLINE_SECONDS = 20


@pytest.fixture
async def ports() -> AsyncIterator[dict[str, int]]:
    """Ports of a gateway's metrics and of an agent's, whose engine is a stub."""

    async def engine_metrics(request: web.Request) -> web.Response:
        return web.Response(body=ENGINE_METRICS, headers={"Content-Type": TEXT_TYPE})

    engine, metrics = web.Application(), Metrics()
    engine.router.add_get("/metrics", engine_metrics)
    metrics.count_request("/v1/chat/completions", 200, "ci", 0.5)
    found = {}
    async with AsyncExitStack() as stack:

        async def serve(name: str, app: web.Application) -> None:
            sock = listening_socket("127.0.0.1", 0)
            await stack.enter_async_context(serving(app, sock))
            found[name] = sock.getsockname()[1]

        await serve("engine", engine)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await serve("gateway", metrics.application())
        await serve("agent", Agent(session, f"http://127.0.0.1:{found['engine']}").metrics_application())
        yield found


@pytest.fixture
def prometheus(ports: dict[str, int], tmp_path: Path) -> Iterator[str]:
    """Address of a Prometheus that reads both."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus (Debian: prometheus)")
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{ports[name]}"]}]}
        for name in ("gateway", "agent")
    ]
    config = tmp_path / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))  # JSON is YAML
    port = free_port()
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(DEADLINE_SECONDS)


async def value_of(address: str, query: str) -> str:
    """Return the value of a query's only series, once Prometheus has one."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                async with session.get(f"{address}/api/v1/query", params={"query": query}) as reply:
                    found = (await reply.json())["data"]["result"] if reply.status == 200 else []
            except aiohttp.ClientError:  # it does not listen yet
                found = []
            if found:
                (series,) = found
                return str(series["value"][1])
            await asyncio.sleep(0.1)


async def test_prometheus_reads_gateway_and_engine(prometheus: str) -> None:
    requests = 'loraform_gateway_requests_total{job="gateway", key="ci", code="200"}'
    assert await value_of(prometheus, requests) == "1"
    assert await value_of(prometheus, 'vllm:num_requests_running{job="agent"}') == "3"
    assert await value_of(prometheus, "sum(up)") == "2"


async def get(port: int) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as reply:
        return reply.status, await reply.read()


async def test_an_engine_that_does_not_answer_is_503(ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert await get(ports["agent"]) == (200, ENGINE_METRICS)
    monkeypatch.setattr(agents, "METRICS_LIMIT", 10)
    status, body = await get(ports["agent"])
    assert (status, body) == (503, b"the engine's metrics cannot be read: ValueError\n")
