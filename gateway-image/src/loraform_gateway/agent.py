"""The engine's door: passes inference and nothing else, and keeps the route's adapters loaded.

vLLM's own paths (loading adapters, pausing, tokenising …) have no authentication worth the name, so it listens on the
pod's loopback and this process decides what is let through: completions of adapters that passed parity.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from loraform_api.heartbeat import HEARTBEAT_SECONDS, Heartbeat
from loraform_engine.adapters import Keeper
from loraform_engine.client import GENERATE, Engine
from loraform_gateway.errors import bad_request, shape_errors, unavailable
from loraform_gateway.route import RouteFollower

BODY_LIMIT = 4 << 20
PASSED = frozenset(
    ("model", "prompt", "max_tokens", "temperature", "top_p", "n", "seed", "stop_token_ids", "stream", "stream_options")
)
"""Fields of a completion that pass: what the gateway sends. Others can stop a whole engine (`prompt_logprobs`)."""
STEP_SECONDS = HEARTBEAT_SECONDS
"""Longest time between two looks at the engine: a restarted one is noticed within it."""


class Agent:
    """The application and its two loops: follow the route, keep the adapters."""

    def __init__(self, session: aiohttp.ClientSession, engine_url: str) -> None:
        self._session, self._engine_url = session, engine_url.rstrip("/")
        self.keeper = Keeper(Engine(session, engine_url))

    def heartbeat(self, pod: str, revision: str) -> Heartbeat:
        """Return what to tell the operator."""
        return Heartbeat(role="agent", pod=pod, route_revision=revision, adapters=self.keeper.states()[:64])

    def application(self, follower: RouteFollower) -> web.Application:
        """Return the web application; its loops run while it serves."""

        async def loops(app: web.Application) -> AsyncIterator[None]:
            tasks = [asyncio.create_task(follower.run()), asyncio.create_task(self._keep(follower))]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        async def ready(request: web.Request) -> web.Response:
            fit = self.keeper.ready(follower.route)
            return web.Response(text="ok\n" if fit else "not ready\n", status=200 if fit else 503)

        app = web.Application(middlewares=[shape_errors], client_max_size=BODY_LIMIT)
        app.cleanup_ctx.append(loops)
        app.router.add_get("/healthz", healthy)
        app.router.add_get("/readyz", ready)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._completions)
        return app

    async def _keep(self, follower: RouteFollower) -> None:
        while True:
            follower.changed.clear()
            if follower.route is not None:
                await self.keeper.step(follower.route)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(follower.changed.wait(), STEP_SECONDS)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return await self._pass(request, "GET", "/v1/models", None)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = json.loads(body)  # the middleware answers 400 when it is none
        if not isinstance(asked, dict):
            raise bad_request("the body must be a JSON object")
        if other := sorted(set(asked) - PASSED):
            raise bad_request(f"`{other[0][:50]}` does not pass to the engine", other[0][:50])
        if not self.keeper.may_answer(str(asked.get("model"))):
            raise unavailable("adapter_not_ready", "this engine has not loaded and proved that adapter")
        return await self._pass(request, "POST", "/v1/completions", body)

    async def _pass(self, request: web.Request, method: str, path: str, body: bytes | None) -> web.StreamResponse:
        """Copy the engine's reply as it comes; only method, path and JSON body of the request go in."""
        response, headers = web.StreamResponse(), {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, self._engine_url + path, data=body, headers=headers, timeout=GENERATE
            ) as reply:
                response.set_status(reply.status)
                response.content_type = reply.content_type
                await response.prepare(request)
                async for chunk in reply.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError) as error:
            if response.prepared:  # too late for a status: the caller must see a broken answer, not a short one
                raise ConnectionResetError("the engine or the caller left") from error
            raise unavailable("engine_unreachable", "the engine starts or restarts") from error


async def healthy(request: web.Request) -> web.Response:
    """Answer that the process runs."""
    return web.Response(text="ok\n")
