"""Gateway, agent, verifier and vLLM as real processes on this host. Only the operator is a stub (over real TLS)."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from loraform_api import names
from loraform_api.artifact import ADAPTER_FILES, adapter_digest
from loraform_api.endpoint import OperatorEndpoint
from loraform_api.finetunejob import PlacementSpec
from loraform_api.heartbeat import Heartbeat, Route, RouteAdapter
from loraform_api.training import Method
from loraform_api.verification import HousePolicy
from loraform_engine.prompting import load_prompter
from loraform_operator.endpoint.certificates import make_ca, make_leaf
from loraform_operator.pods.engine import decide_engine, engine_container
from loraform_operator.settings import Profile

from ..waiting import free_port, wait_for

VLLM = os.environ.get("LORAFORM_VLLM") or shutil.which("vllm")
POLICY = HousePolicy(comment="# This resource is generated using PiCloud tool", tags={"created_by": "PiCloud"})
SERVICE = "loraform-operator.loraform-system.svc"
"""The only name of the operator's certificate: pods connect to an address that it does not have."""
LONG, SHORT = 900.0, 60.0
"""Seconds to wait for an engine, and for anything else."""


class StubOperator:
    """Answers heartbeats with `route` over TLS and keeps the last heartbeat by role."""

    def __init__(self, folder: Path) -> None:
        ca = make_ca(datetime.now(UTC))
        leaf = make_leaf(ca, [SERVICE], datetime.now(UTC))
        (folder / "leaf.pem").write_text(leaf.certificate + leaf.key)
        (folder / "token").write_text("the-token")
        self.route: Route | None = None
        self.beats: dict[str, Heartbeat] = {}
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(folder / "leaf.pem")
        self.port, self._ca = free_port(), ca.certificate
        self.mount(folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner: web.AppRunner | None = None
        self.start()

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        assert self._runner is not None
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)

    def mount(self, folder: Path, server_name: str = SERVICE) -> None:
        """Write the file that names this operator, as the kubelet mounts it."""
        url = f"https://127.0.0.1:{self.port}/heartbeat"
        endpoint = OperatorEndpoint(url=url, server_name=server_name, ca=self._ca)
        (folder / "endpoint.json").write_text(endpoint.model_dump_json(by_alias=True))

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/heartbeat", self._heartbeat)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()

    async def _heartbeat(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer the-token":
            return web.Response(status=401)
        beat = Heartbeat.model_validate_json(await request.read())
        self.beats[beat.role] = beat
        if self.route is None:
            return web.Response(status=503)
        return web.Response(text=self.route.model_dump_json(by_alias=True), content_type="application/json")


class World:
    """All processes and what can be asked of them."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder, self.models = folder, models
        self.operator = StubOperator(folder)
        self.engine_port, self.agent_port, self.gateway_port, verifier = (free_port() for _ in range(4))
        self.template_hash = load_prompter(models / "base").template_hash
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start_engine()
        self.start("verifier", [sys.executable, "-m", "loraform_verifier", "serve", "--port", str(verifier)])
        self.local = ["--host", "127.0.0.1", "--route", str(folder / "route.json")]
        gateway = [
            "gateway",
            *self.local,
            "--port",
            str(self.gateway_port),
            "--verifier",
            f"http://127.0.0.1:{verifier}",
            *("--metrics-port", str(free_port())),
            *("--requests-in-flight", "32"),
            *("--tokens-in-flight", "100000"),
        ]
        self.start_agent()
        self.start("gateway", [sys.executable, "-m", "loraform_gateway", *gateway])

    def start(self, name: str, command: list[str], **environment: str) -> None:
        told = {
            names.ENV_ENDPOINT: str(self.folder / "endpoint.json"),
            names.ENV_TOKEN: str(self.folder / "token"),
            names.ENV_POD_NAME: f"{name}-pod",
            names.ENV_ENGINE_URL: f"http://127.0.0.1:{self.agent_port}",
        }
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **told, **environment}, start_new_session=True
            )

    def start_agent(self) -> None:
        agent = ["agent", *self.local, "--port", str(self.agent_port), "--metrics-port", str(free_port())]
        engine = ["--engine", f"http://127.0.0.1:{self.engine_port}"]
        self.start("agent", [sys.executable, "-m", "loraform_gateway", *agent, *engine])

    def start_engine(self) -> None:
        """Start vLLM by the very container that the operator renders."""
        assert VLLM is not None
        profile = Profile(
            engine_image="unused",
            engine_dtype="float32",
            engine_args=["--enforce-eager"],
            engine_env={"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"},
        )
        container = engine_container(
            decide_engine(profile, Method.LORA, None),
            PlacementSpec().resources,
            model_path=str(self.models / "base"),
            mounts=[],
        )
        ports = {str(names.PORT_ENGINE): str(self.engine_port)}
        command = [VLLM, *(ports.get(word, word) for word in container["command"][1:])]
        environment = {e["name"]: e["value"] for e in container["env"] if e["name"] != "HOME"}
        self.start("engine", command, **environment)

    def send_signal(self, name: str, number: signal.Signals) -> None:
        os.killpg(self.processes[name].pid, number)  # a session of its own: vLLM has children

    def kill(self, name: str) -> None:
        self.send_signal(name, signal.SIGKILL)
        self.processes.pop(name).wait(30)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        self.operator.stop()

    def adapter(self, version: int, name: str) -> RouteAdapter:
        """Return the artifact `name` as a route's adapter; `changed` is announced as what it once was."""
        known = "tagged" if name == "changed" else name
        sums = {f: hashlib.sha256((self.models / known / f).read_bytes()).hexdigest() for f in ADAPTER_FILES}
        digest = adapter_digest(sums) if name != "changed" else adapter_digest({**sums, ADAPTER_FILES[0]: "0"})
        path = str(self.models / name)
        return RouteAdapter(
            version=version, digest=digest, path=path, template_hash=self.template_hash, max_new_tokens=1024, created=0
        )

    def route(self, live: RouteAdapter | None, *others: RouteAdapter) -> None:
        """Let the operator answer this route from now on."""
        adapters = [a for a in (live, *others) if a is not None]
        told = "".join(a.digest for a in adapters) + (live.digest if live else "")
        self.operator.route = Route(
            revision=hashlib.sha256(told.encode()).hexdigest()[:8],
            model="house",
            base_path=str(self.models / "base"),
            live=live.digest if live else None,
            adapters=adapters,
            policy=POLICY,
        )

    def state(self, adapter: RouteAdapter) -> tuple[str, str]:
        """Return what the agent last said of an adapter."""
        beat = self.operator.beats.get("agent")
        told = {a.digest: (a.state.value, a.message) for a in beat.adapters} if beat else {}
        return told.get(adapter.digest, ("", ""))

    def await_state(self, adapter: RouteAdapter, state: str, seconds: float = SHORT) -> str:
        wait_for(f"version {adapter.version} to be {state}", lambda: self.state(adapter)[0] == state, seconds)
        return self.state(adapter)[1]

    def await_version(self, version: int) -> None:
        def answers() -> bool:
            return [m["loraform"]["version"] for m in self.get("/v1/models")["data"]] == [version]

        wait_for(f"the gateway to follow to version {version}", answers)

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.gateway_port}{path}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def ready(self, port: int) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)

    def post(self, path: str, body: dict[str, Any], port: int | None = None) -> tuple[int, str, dict[str, str]]:
        """Return status, body and headers."""
        url = f"http://127.0.0.1:{port or self.gateway_port}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return int(answer.status), answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    def chat(self, prompt: str = "Make a bucket.", **fields: Any) -> dict[str, Any]:
        body = {"model": "house", "messages": [{"role": "user", "content": prompt}], **fields}
        status, text, _ = self.post("/v1/chat/completions", body)
        assert status == 200, text
        found: dict[str, Any] = json.loads(text)
        return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module beside this file that makes the tiny models, with its folder as `folder`."""
    spec = importlib.util.spec_from_file_location("tiny_models", Path(__file__).with_name("models.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    known = os.environ.get("LORAFORM_GATEWAY_MODELS")
    module.folder = Path(known) if known else tmp_path_factory.mktemp("models")
    if not known:
        module.write_all(module.folder)
    return module


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, models: Any) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"), models.folder)
    yield made
    made.close()


@pytest.fixture
def stub_operator() -> type[StubOperator]:
    return StubOperator
