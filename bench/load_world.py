"""The processes of benchmark 14: a real gateway, a real verifier and an engine that answers at once; their costs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aiohttp import web
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from loraform_api import names
from loraform_api.heartbeat import Route, RouteAdapter, adapter_name
from loraform_api.verification import HousePolicy
from loraform_engine.prompting import load_prompter
from loraform_verifier import __main__ as verifier_main
from loraform_verifier.sandbox.isolation import Child

MODEL = "house"
POLICY = HousePolicy(comment="# This resource is generated using PiCloud tool", tags={"created_by": "PiCloud"})
DIGEST = "a" * 64
START_SECONDS = 60
TICKS = os.sysconf("SC_CLK_TCK")


class Engine:
    """Answers each completion at once with the next text."""

    def __init__(self) -> None:
        self.texts: Iterator[str] = iter(())
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._complete)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        yield
        await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": names.ENGINE_MODEL, "max_model_len": 4096}]})

    async def _complete(self, request: web.Request) -> web.Response:
        await request.read()
        choice = {"index": 0, "text": next(self.texts), "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 100, "total_tokens": 110}
        return web.json_response({"model": adapter_name(DIGEST), "choices": [choice], "usage": usage})


@dataclass(frozen=True)
class World:
    """Gateway and verifier, with the log of what the verifier started."""

    url: str
    gateway: int
    verifier: int
    starts: Path
    ready_seconds: float
    """Seconds from the start of the verifier until it is healthy."""

    def counts(self) -> dict[str, int]:
        """Return the starts of terraform and of providers so far."""
        lines = self.starts.read_text().split()
        return {name: lines.count(name) for name in ("terraform", "provider")}


@contextmanager
def world(folder: Path, engine: Engine) -> Iterator[World]:
    """Start both processes; they are killed at the end."""
    route, starts = _write_route(folder), folder / "starts"
    starts.touch()
    gateway_port, verifier_port = _free_port(), _free_port()
    environment = {**os.environ, names.ENV_POD_NAME: "pod"}
    environment |= {names.ENV_ENDPOINT: "/nowhere", names.ENV_TOKEN: str(folder / "token")}
    (folder / "token").write_text("token")
    verifier = [sys.executable, __file__, str(starts), "serve", "--port", str(verifier_port)]
    gateway = [sys.executable, "-m", "loraform_gateway", "gateway", "--engine", f"http://127.0.0.1:{engine.port}"]
    gateway += ["--verifier", f"http://127.0.0.1:{verifier_port}", "--requests-in-flight", "200"]
    gateway += ["--tokens-in-flight", "1000000", "--metrics-port", str(_free_port())]
    gateway += ["--host", "127.0.0.1", "--port", str(gateway_port), "--route", str(route)]
    processes = []
    try:
        for name, command in (("verifier", verifier), ("gateway", gateway)):
            with (folder / f"{name}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        began = time.monotonic()
        _wait(f"http://127.0.0.1:{verifier_port}/healthz")
        ready = time.monotonic() - began
        _wait(f"http://127.0.0.1:{gateway_port}/readyz")
        url = f"http://127.0.0.1:{gateway_port}/v1/completions"
        yield World(url, processes[1].pid, processes[0].pid, starts, ready)
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process, of its live descendants, and of those that ended."""
    return sum(sum(map(int, stat[11:15])) for stat in _tree(pid)) / TICKS


def _tree(root: int) -> list[Sequence[str]]:
    stats = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stats[int(folder.name)] = (folder / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue  # it ended
    found = [root]
    for pid in found:
        found += [child for child, stat in stats.items() if int(stat[1]) == pid]
    return [stats[pid] for pid in found if pid in stats]


def _write_route(folder: Path) -> Path:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": tokenizer.token_to_id("<eos>")}))
    hash_ = load_prompter(folder).template_hash
    adapter = RouteAdapter(
        version=1, created=0, digest=DIGEST, path="/nowhere", template_hash=hash_, max_new_tokens=1024
    )
    route = Route(revision="r1", model=MODEL, base_path=str(folder), live=DIGEST, adapters=[adapter], policy=POLICY)
    file = folder / "route.json"
    file.write_text(route.model_dump_json(by_alias=True))
    return file


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _wait(url: str) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own processes
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit(f"{url} did not answer within {START_SECONDS} s")


def serve_counted(starts: Path, arguments: list[str]) -> int:
    """Run the verifier's own entry point; write the name of each terraform and provider that starts to a file."""
    start: Any = Child.__init__

    def counted(self: Child, command: Sequence[str], **rest: Any) -> None:
        name = re.sub(r"-provider-.*", "-provider", Path(command[0]).name)
        words = {"terraform-provider": "provider", "terraform": "terraform", "tofu": "terraform"}
        if name in words and "version" not in command:
            with starts.open("a") as log:
                log.write(f"{words[name]}\n")
        start(self, command, **rest)

    with patch.object(Child, "__init__", counted):
        return verifier_main.main(arguments)


if __name__ == "__main__":
    sys.exit(serve_counted(Path(sys.argv[1]), sys.argv[2:]))
