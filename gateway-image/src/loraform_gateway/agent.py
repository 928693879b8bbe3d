"""Proxy in front of one engine: forwards completions only, and keeps the route's adapters loaded.

vLLM's own paths (loading adapters, pausing, tokenising …) are not authenticated. So vLLM listens on the pod's loopback
address, and this process forwards only completions of adapters that passed parity.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from loraform_api.heartbeat import HEARTBEAT_SECONDS, Heartbeat
from loraform_engine.adapters import AdapterLoader
from loraform_engine.client import GENERATE, Engine
from loraform_gateway.admission import read_body
from loraform_gateway.errors import shape_errors, unavailable
from loraform_gateway.forwarded import ForwardedCompletion
from loraform_gateway.metrics import TEXT_TYPE
from loraform_gateway.request_id import add_header, current, identify
from loraform_gateway.route import RouteFollower

LOG = logging.getLogger(__name__)
BODY_LIMIT = 4 << 20
METRICS_LIMIT = 8 << 20
"""Most bytes of the engine's metrics; they have some hundred kilobytes."""
METRICS_SECONDS = 5
"""Longest wait for them."""
RECONCILE_SECONDS = HEARTBEAT_SECONDS
"""Longest time between two reconciles; a restarted engine is noticed within it."""


class Agent:
    """The web application and its two loops: following the route, and loading its adapters."""

    def __init__(self, session: aiohttp.ClientSession, engine_url: str) -> None:
        self._session, self._engine_url = session, engine_url.rstrip("/")
        self.loader = AdapterLoader(Engine(session, engine_url))

    def heartbeat(self, pod: str, revision: str) -> Heartbeat:
        """Return the heartbeat for the operator."""
        return Heartbeat(role="agent", pod=pod, route_revision=revision, adapters=self.loader.states()[:64])

    def application(self, follower: RouteFollower) -> web.Application:
        """Return the web application, which runs both loops."""

        async def loops(app: web.Application) -> AsyncIterator[None]:
            tasks = [asyncio.create_task(follower.run()), asyncio.create_task(self._reconcile(follower))]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        async def ready(request: web.Request) -> web.Response:
            is_ready = self.loader.ready(follower.route)
            return web.Response(text="ok\n" if is_ready else "not ready\n", status=200 if is_ready else 503)

        app = web.Application(middlewares=[identify, shape_errors], client_max_size=BODY_LIMIT)
        app.on_response_prepare.append(add_header)
        app.cleanup_ctx.append(loops)
        app.router.add_get("/healthz", healthy)
        app.router.add_get("/readyz", ready)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._completions)
        return app

    def metrics_application(self) -> web.Application:
        """Return the web application that Prometheus reads: vLLM's own metrics."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            async with self._session.get(
                f"{self._engine_url}/metrics", timeout=aiohttp.ClientTimeout(total=METRICS_SECONDS)
            ) as reply:
                content = await _whole(reply.content, METRICS_LIMIT)
                headers = {"Content-Type": reply.headers.get("Content-Type", TEXT_TYPE)}
                return web.Response(body=content, status=reply.status, headers=headers)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return web.Response(text=f"the engine's metrics cannot be read: {type(error).__name__}\n", status=503)

    async def _reconcile(self, follower: RouteFollower) -> None:
        while True:
            follower.changed.clear()
            if follower.route is not None:
                await self.loader.reconcile(follower.route)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(follower.changed.wait(), RECONCILE_SECONDS)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return await self._forward(request, "GET", "/v1/models", None)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        completion = ForwardedCompletion.of(await read_body(request))
        if not self.loader.may_answer(completion.model):
            raise unavailable("adapter_not_ready", "the adapter is not loaded, or has not passed parity; try again")
        return await self._forward(request, "POST", "/v1/completions", completion.body())

    async def _forward(self, request: web.Request, method: str, path: str, body: bytes | None) -> web.StreamResponse:
        """Stream the engine's response; only method, path and JSON body of the request are forwarded."""
        response, headers = web.StreamResponse(), {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, self._engine_url + path, data=body, headers=headers, timeout=GENERATE
            ) as reply:
                if reply.status != 200:
                    LOG.warning("request %s: the engine answered %d", current(), reply.status)
                response.set_status(reply.status)
                response.content_type = reply.content_type
                await response.prepare(request)
                async for chunk in reply.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError) as error:
            if response.prepared:  # too late for a status, and the answer must not look complete
                raise ConnectionResetError("the engine or the caller disconnected") from error
            raise unavailable("engine_unreachable", "the engine is starting or restarting; try again") from error


async def healthy(request: web.Request) -> web.Response:
    """Return 200: the process runs."""
    return web.Response(text="ok\n")


async def _whole(content: aiohttp.StreamReader, limit: int) -> bytes:
    """Read all of `content`; raises ValueError when it has more than `limit` bytes."""
    parts = bytearray()
    async for part in content.iter_any():
        parts += part
        if len(parts) > limit:
            raise ValueError(f"more than {limit} bytes")
    return bytes(parts)
