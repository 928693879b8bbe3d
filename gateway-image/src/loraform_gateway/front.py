"""The gateway's HTTP server: OpenAI's paths and health. It logs no bodies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from loraform_api.heartbeat import AdapterState, Heartbeat, LoadedAdapter, Route
from loraform_gateway.admission import BODY_LIMIT, Admission
from loraform_gateway.agent import healthy
from loraform_gateway.answering import Answerer
from loraform_gateway.bodies import bodies_for
from loraform_gateway.errors import ApiError, shape_errors
from loraform_gateway.keys import caller
from loraform_gateway.metrics import Metrics
from loraform_gateway.openai import Answer, AnswerRequest, parse_chat, parse_completion, parse_response
from loraform_gateway.request_id import add_header, identify
from loraform_gateway.route import RouteFollower, live_adapter
from loraform_gateway.streaming import stream_raw, stream_verified

VerifierUp = Callable[[], Awaitable[bool]]


class Front:
    """The web application of one gateway."""

    def __init__(self, answerer: Answerer, metrics: Metrics, verifier_up: VerifierUp, admission: Admission) -> None:
        self._answerer, self._metrics, self._verifier_up = answerer, metrics, verifier_up
        self._admission = admission

    def heartbeat(self, pod: str, revision: str) -> Heartbeat:
        """Return the heartbeat for the operator."""
        return Heartbeat(
            role="gateway",
            pod=pod,
            route_revision=revision,
            adapters=self._mismatches(self._follower.route),
            counters=self._metrics.counters(),
            authentication=self._admission.authentication,
            problem=self._admission.problem,
        )

    def _mismatches(self, route: Route | None) -> list[LoadedAdapter]:
        live = live_adapter(route)
        if route is None or live is None:
            return []
        message = self._answerer.template_mismatch(route.base_path, live)
        state = AdapterState.TEMPLATE_MISMATCH
        return [LoadedAdapter(digest=live.digest, state=state, message=message)] if message else []

    def application(self, follower: RouteFollower) -> web.Application:
        """Return the web application, which follows the route while it runs."""
        self._follower = follower
        app = web.Application(
            middlewares=[identify, self._count, shape_errors, *self._admission.middlewares], client_max_size=BODY_LIMIT
        )
        app.on_response_prepare.extend([add_header, self._admission.cross_origin.add_headers])
        app.cleanup_ctx.append(self._follow)
        app.router.add_get("/healthz", healthy)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models/{model:.+}", self._model)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/responses", self._responses)
        return app

    async def _follow(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._follower.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, parse_chat)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, parse_completion)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, parse_response)

    async def _answer(self, request: web.Request, parse: Callable[[bytes], AnswerRequest]) -> web.StreamResponse:
        body = await request.read()
        answer_request = await self._answerer.on_text(len(body), parse, body)
        prepared = await self._answerer.prepare(answer_request, self._follower.route)
        with self._admission.limits.prompt(caller(), prepared.tokens):
            if answer_request.stream:
                stream = stream_verified if answer_request.verify else stream_raw
                return await stream(request, self._answerer, prepared, self._count_answer)
            answer = await self._answerer.answer(prepared)
            self._count_answer(answer)
            return web.json_response(bodies_for(answer_request).complete(answer))

    def _count_answer(self, answer: Answer) -> None:
        for choice in answer.choices:
            self._metrics.count_answer(choice.loraform)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self._live_models()})

    async def _model(self, request: web.Request) -> web.Response:
        models = [model for model in self._live_models() if model["id"] == request.match_info["model"]]
        if not models:
            known = ", ".join(f"'{model['id']}'" for model in self._live_models()) or "no model yet"
            raise ApiError(404, "model_not_found", f"here is {known}", param="model")
        return web.json_response(models[0])

    def _live_models(self) -> list[dict[str, Any]]:
        """Return the model, once a version of it is live."""
        route = self._follower.route
        live = live_adapter(route)
        if route is None or live is None:
            return []
        about = {"version": live.version, "adapterDigest": live.digest}
        model = {"id": route.model, "object": "model", "created": live.created, "owned_by": "loraform"}
        return [{**model, "loraform": about}]

    async def _ready(self, request: web.Request) -> web.Response:
        """Return 200 when a version is live, its template fits the base model, and the verifier answers.

        The engine is not checked: while it restarts, callers get 503 with Retry-After instead of no connection.
        """
        if problem := self._admission.problem:
            return web.Response(text=f"{problem}\n", status=503)
        route = self._follower.route
        live = live_adapter(route)
        if route is None or live is None:
            return web.Response(text="no version is live yet\n", status=503)
        await self._answerer.prompter(route.base_path, live)
        if not await self._verifier_up():
            return web.Response(text="the verifier does not answer\n", status=503)
        return web.Response(text="ok\n")

    @web.middleware
    async def _count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count requests for answers; a caller that disconnected counts as 499."""
        if not request.path.startswith("/v1/") or request.method != "POST":
            return await handler(request)
        began, code = time.monotonic(), 499
        try:
            response = await handler(request)
            code = response.status
            return response
        finally:
            path = request.path if request.match_info.http_exception is None else "other"
            self._metrics.count_request(path, code, caller(), time.monotonic() - began)
