"""Stubs of the engine (vLLM), the operator and the verifier."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from loraform_api.artifact import ADAPTER_FILES, adapter_digest
from loraform_api.endpoint import OperatorEndpoint
from loraform_api.heartbeat import Route, RouteAdapter, adapter_name
from loraform_api.verification import HousePolicy, ProgramVerdict, StageResult, Toolchain, VerifyRequest, VerifyResponse
from loraform_engine.parity import ParityFile, ParityRow
from loraform_engine.prompting import load_prompter
from loraform_engine.version import LEAST_VERSION
from loraform_operator.endpoint.certificates import make_ca, make_leaf
from loraform_operator.endpoint.publication import load_into

POLICY = HousePolicy(comment="# house", tags={"created_by": "PiCloud"})
VALID = 'resource "aws_s3_bucket" "b" {\n}\n'
SECOND_END = 7
SERVICE = "loraform-operator.loraform-system.svc"
"""The only name of the operator's certificate: pods connect to an address that it does not have."""
ADAPTER_LOGPROB, BASE_LOGPROB = -0.25, -4.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class StubEngine:
    """vLLM's paths; serves `text`, and log-probabilities that depend on `applies_adapters`."""

    text: str = VALID
    texts: dict[int, str] = field(default_factory=dict)
    """Texts of choices that differ from `text`, by number."""
    tokens: int = 7
    """Tokens of an answer."""
    finish_reason: str = "stop"
    applies_adapters: bool = True
    version: str = LEAST_VERSION
    down: bool = False
    """Its list of models is answered by 503."""
    answers_as: str = ""
    """Name of the model that answers; empty for the one that was asked."""
    loaded: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    request_ids: list[str | None] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    refuse_load: str = ""
    context: int = 64
    """Tokens of the longest sequence."""
    gate: asyncio.Event | None = None
    """Completions wait for it."""
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    stalls: bool = False
    """A stream stops after its first event."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The caller of a completion left before its answer."""
    url: str = ""
    server: TestServer | None = None

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/pause", self._pause)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": self.version})

    async def _pause(self, request: web.Request) -> web.Response:
        self.calls.append("pause")
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        if self.down:
            return web.Response(status=503)
        names = ["base", *self.loaded]
        return web.json_response({"data": [{"id": n, "max_model_len": self.context} for n in names]})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.calls.append(f"load {body['lora_name']}")
        if self.refuse_load:
            return web.json_response({"error": {"message": self.refuse_load}}, status=500)  # as vLLM does
        self.loaded[body["lora_name"]] = body["lora_path"]
        return web.Response(text=f"Success: LoRA adapter '{body['lora_name']}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        self.calls.append(f"unload {name}")
        self.loaded.pop(name, None)
        return web.Response(text="Success")

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.set()
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.request_ids.append(request.headers.get("X-Request-Id"))
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if body["model"] != "base" and body["model"] not in self.loaded:
            return web.json_response({"error": {"message": "The model does not exist."}}, status=404)
        model = self.answers_as or body["model"]
        tokens = len(body["prompt"]), self.tokens
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        if body.get("stream"):
            return await self._stream(request, usage, model, body.get("n", 1))
        choice: dict[str, Any] = {"index": 0, "text": self.text, "finish_reason": self.finish_reason}
        choices = [
            {**choice, "index": index, "text": self.texts.get(index, self.text)} for index in range(body.get("n", 1))
        ]
        if "logprob_token_ids" in body:
            value = ADAPTER_LOGPROB if self.applies_adapters else BASE_LOGPROB
            choices[0]["logprobs"] = {"top_logprobs": [{f"token_id:{i}": value for i in body["logprob_token_ids"]}]}
        return web.json_response({"model": model, "choices": choices, "usage": usage})

    async def _stream(self, request: web.Request, usage: dict[str, int], model: str, n: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        events: list[dict[str, Any]] = []
        for half, ended in ((slice(5), None), (slice(5, None), self.finish_reason)):
            for index in range(n):
                text = self.texts.get(index, self.text)[half]
                events.append({"choices": [{"index": index, "text": text, "finish_reason": ended}]})
        for event in [*events, {"choices": [], "usage": usage}]:
            await response.write(f"data: {json.dumps({'model': model, **event})}\n\n".encode())
            if self.stalls:
                await asyncio.Event().wait()
        await response.write(b"data: [DONE]\n\n")
        return response


@dataclass
class StubVerifier:
    """Passes by `passes` and rewrites by `rewrite`; keeps the requests."""

    passes: Callable[[str, str], bool] = lambda stage, text: True
    rewrite: Callable[[str], str] = lambda text: text
    requests: list[VerifyRequest] = field(default_factory=list)
    error: Exception | None = None
    """What `verify` raises."""
    down: bool = False
    """It is not healthy."""

    async def verify(self, request: VerifyRequest) -> VerifyResponse:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        verdicts = []
        for program in request.programs:
            text = self.rewrite(program.text) if request.rewrite else program.text
            stages = []
            for stage in request.stages:
                stages.append(StageResult(stage=stage, passed=self.passes(stage, text)))
                if not stages[-1].passed:
                    break
            verdict = ProgramVerdict(id=program.id, passed=all(s.passed for s in stages), stages=stages)
            if request.rewrite:
                raw_passed = all(self.passes(stage, program.text) for stage in request.stages)
                verdict = verdict.model_copy(update={"rewritten": text, "raw_passed": raw_passed})
            verdicts.append(verdict)
        return VerifyResponse(verdicts=verdicts, seconds=0.0, toolchain=Toolchain(terraform="terraform 1.11.4"))

    async def healthy(self) -> bool:
        return not self.down


@dataclass
class StubOperator:
    """Answers heartbeats with `route`, or with an error while there is none."""

    route: Route | None = None
    beats: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    url: str = ""
    ca: str = ""

    def mount(self, folder: Path) -> Path:
        """Write the file that names this operator, as the kubelet mounts it, and return its path."""
        endpoint = OperatorEndpoint(url=self.url, server_name=SERVICE, ca=self.ca)
        (folder / "endpoint.json").write_text(endpoint.model_dump_json(by_alias=True))
        return folder / "endpoint.json"

    async def heartbeat(self, request: web.Request) -> web.Response:
        self.beats.append(await request.json())
        self.tokens.append(request.headers["Authorization"])
        if self.route is None:
            return web.Response(status=503)
        return web.Response(text=self.route.model_dump_json(by_alias=True), content_type="application/json")


@pytest.fixture
async def engine() -> AsyncIterator[StubEngine]:
    stub = StubEngine()
    async with TestServer(stub.application()) as server:
        stub.url, stub.server = str(server.make_url("")), server
        yield stub


@pytest.fixture
async def operator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StubOperator]:
    ca = make_ca(datetime.now(UTC))
    stub, tls = StubOperator(ca=ca.certificate), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_into(tls, make_leaf(ca, [SERVICE], datetime.now(UTC)))
    app = web.Application()
    app.router.add_post("/heartbeat", stub.heartbeat)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=tls)
    stub.url = str(server.make_url("/heartbeat"))
    yield stub
    await server.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier() -> StubVerifier:
    return StubVerifier()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a base model's folder for the gateway: a byte-level tokenizer with one special token, two end tokens."""
    folder = tmp_path_factory.mktemp("base")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": tokenizer.token_to_id("<eos>")}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [SECOND_END]}))
    yield folder


@pytest.fixture
def make_adapter(tmp_path: Path, base: Path) -> Callable[..., RouteAdapter]:
    """Return a function that writes an artifact folder and returns it as a route's adapter."""

    def make(version: int = 1) -> RouteAdapter:
        folder = tmp_path / f"artifact-{version}"
        folder.mkdir()
        sums = {}
        for name in ADAPTER_FILES:
            content = f"{name} of version {version}".encode()
            (folder / name).write_bytes(content)
            sums[name] = hashlib.sha256(content).hexdigest()
        row = ParityRow(
            prompt_ids=[1, 2],
            response_ids=[3, 4],
            adapter_logprobs=[ADAPTER_LOGPROB] * 2,
            base_logprobs=[BASE_LOGPROB] * 2,
        )
        hash_ = load_prompter(base).template_hash
        parity = ParityFile(template_hash=hash_, dtype="float32", rows=[row])
        (folder / "parity.json").write_text(parity.model_dump_json(by_alias=True))
        return RouteAdapter(
            version=version,
            digest=adapter_digest(sums),
            path=str(folder),
            template_hash=hash_,
            max_new_tokens=1024,
            created=1_767_225_600,
        )

    return make


@pytest.fixture
def make_route(base: Path) -> Callable[..., Route]:
    """Return a factory of routes; the first adapter is live by default."""

    def make(*adapters: RouteAdapter, live: bool = True, revision: str = "r1") -> Route:
        return Route(
            revision=revision,
            model="house",
            base_path=str(base),
            live=adapters[0].digest if adapters and live else None,
            adapters=list(adapters),
            policy=POLICY,
        )

    return make


@pytest.fixture
def loaded(engine: StubEngine) -> Callable[[RouteAdapter], None]:
    """Return a function that loads an adapter into the engine."""

    def load(adapter: RouteAdapter) -> None:
        engine.loaded[adapter_name(adapter.digest)] = adapter.path

    return load
