"""A proxy between one operator and the API server: it records every request, and can cut the connection."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from ..waiting import free_port

PASSED_ON = ("Content-Type", "Accept", "Authorization", "User-Agent")


@dataclass(frozen=True)
class Request:
    """A request that the API server answered."""

    at: float
    """When the answer came, by the monotonic clock."""
    method: str
    path: str
    status: int

    @property
    def is_write(self) -> bool:
        """Whether it would change something other than a Lease."""
        return self.method != "GET" and "/leases" not in self.path


@dataclass
class ApiProxy:
    """Serves plain HTTP on this host in a thread of its own; the kubeconfig's credentials are passed on."""

    kubeconfig: Path
    requests: list[Request] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._server = cluster["server"]
        self._tls = ssl._create_unverified_context()  # who listens there is the test's own API server
        self._cut_at: re.Pattern[str] | None = None
        self._open, self._closed, self._started = asyncio.Event(), asyncio.Event(), threading.Event()
        self._open.set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads through this proxy."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        path.write_text(yaml.safe_dump(config))
        return path

    def writes(self, since: float = 0.0) -> list[Request]:
        return [r for r in self.requests if r.is_write and r.at >= since]

    def cut_at(self, pattern: str) -> None:
        """Cut the connection before the next request whose method and path match: it is held, and all that follow."""
        self._cut_at = re.compile(pattern)

    @property
    def is_cut(self) -> bool:
        return not self._open.is_set()

    def heal(self) -> None:
        """Let through what was held, however late."""
        self._loop.call_soon_threadsafe(self._open.set)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        no_limit = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(auto_decompress=False, timeout=no_limit) as self._session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            self._started.set()
            await self._closed.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self._cut_at is not None and self._cut_at.search(f"{request.method} {request.path}"):
            self._cut_at = None
            self._open.clear()
        await self._open.wait()
        headers = {k: request.headers[k] for k in PASSED_ON if k in request.headers}
        url = f"{self._server}{request.path_qs}"
        sent = {"data": body or None, "headers": headers, "ssl": self._tls}
        async with self._session.request(request.method, url, **sent) as answer:
            self.requests.append(Request(time.monotonic(), request.method, request.path, answer.status))
            response = web.StreamResponse(status=answer.status)
            for name in ("Content-Type", "Retry-After"):
                if name in answer.headers:
                    response.headers[name] = answer.headers[name]
            try:
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await self._open.wait()
                    await response.write(chunk)
            except (ConnectionError, aiohttp.ClientError):
                pass  # the operator went away, or the API server ended a watch
            return response
