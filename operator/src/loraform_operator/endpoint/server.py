"""The HTTPS endpoint that pods call: progress of runs, heartbeats of gateways and agents.

Each request is checked in this order, cheapest first: the custom resource exists, the token is for it, the token's pod
is one of its pods, the pod keeps the rate limit, the body is small and valid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from loraform_api.heartbeat import Heartbeat
from loraform_api.names import Kind, audience
from loraform_api.run import ProgressMessage
from loraform_operator.context import Cache, Key
from loraform_operator.endpoint.heartbeats import HeartbeatStore, RouteStore
from loraform_operator.endpoint.progress_store import ProgressReport, ProgressStore
from loraform_operator.endpoint.tokens import Caller, TokenVerifier, Unauthorized
from loraform_operator.kube.errors import first_error

log = logging.getLogger(__name__)

BODY_LIMIT = 16 * 1024
SECONDS_BETWEEN_CALLS = 1.0
CALLERS_KNOWN = 10_000
Message = TypeVar("Message", bound=BaseModel)


@dataclass
class RateLimit:
    """At most one request per `SECONDS_BETWEEN_CALLS` and pod."""

    clock: Callable[[], float]
    _last: dict[str, float] = field(default_factory=dict)

    def allows(self, pod_uid: str) -> bool:
        """Count a request and say whether it is within the limit."""
        now = self.clock()
        if now - self._last.get(pod_uid, -SECONDS_BETWEEN_CALLS) < SECONDS_BETWEEN_CALLS:
            return False
        if len(self._last) >= CALLERS_KNOWN:
            self._last = {u: t for u, t in self._last.items() if now - t < SECONDS_BETWEEN_CALLS}
        self._last[pod_uid] = now
        return True


@dataclass(frozen=True)
class Receiver:
    """The request handlers and what they use."""

    cache: Cache
    tokens: TokenVerifier
    rate: RateLimit
    progress: ProgressStore
    heartbeats: HeartbeatStore
    routes: RouteStore
    clock: Callable[[], datetime]
    wake: Callable[[Key], None]

    async def on_progress(self, request: web.Request) -> web.Response:
        """Store a KEP-2779 progress message of a run's pod."""
        key, caller = await self._admit(request, Kind.FINE_TUNE_JOB)
        message = await _read(request, ProgressMessage)
        report = ProgressReport(message.trainer_status, caller.pod_uid, self.clock())
        self.progress.record((key.namespace, key.name), report)
        self.wake(key)
        return web.json_response({})

    async def on_heartbeat(self, request: web.Request) -> web.Response:
        """Store a heartbeat and answer with the current route; 503 until there is one."""
        key, caller = await self._admit(request, Kind.IAC_MODEL)
        heartbeat = await _read(request, Heartbeat)
        if self.heartbeats.record((key.namespace, key.name), caller.pod_uid, heartbeat, self.clock()):
            self.wake(key)
        route = self.routes.get((key.namespace, key.name))
        if route is None:
            raise web.HTTPServiceUnavailable(text="the route is not available yet", headers={"Retry-After": "2"})
        return web.json_response(text=route.model_dump_json(by_alias=True, exclude_none=True))

    async def _admit(self, request: web.Request, kind: Kind) -> tuple[Key, Caller]:
        key = Key(kind, request.match_info["namespace"], request.match_info["name"])
        body = self.cache.get(key)
        if body is None:
            raise web.HTTPNotFound(text=f"{kind} {key.namespace}/{key.name} does not exist")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise web.HTTPUnauthorized(text="a bearer token is required")
        expected = audience(key.namespace, key.name, body["metadata"]["uid"])
        try:
            caller = await self.tokens.verify(token.strip(), expected)
        except Unauthorized as error:
            log.info("refused a request for %s/%s: %s", key.namespace, key.name, error)
            raise web.HTTPUnauthorized(text=str(error)) from error
        pods = {c["metadata"]["uid"] for c in self.cache.owned(key) if c["kind"] == "Pod"}
        if caller.namespace != key.namespace or caller.pod_uid not in pods:
            pod = f"pod {caller.namespace}/{caller.pod}"
            raise web.HTTPForbidden(text=f"{pod} does not belong to {kind} {key.namespace}/{key.name}")
        if not self.rate.allows(caller.pod_uid):
            raise web.HTTPTooManyRequests(text="at most one request per second", headers={"Retry-After": "1"})
        return key, caller


async def _read(request: web.Request, model: type[Message]) -> Message:
    """Parse the body as `model`; raises 413 when it is too long, 400 when it is invalid."""
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        raise web.HTTPBadRequest(text=first_error(error)) from error


def application(receiver: Receiver) -> web.Application:
    """Return the web application for progress and heartbeats."""
    app = web.Application(client_max_size=BODY_LIMIT)
    base = "/v1/namespaces/{namespace}"
    app.router.add_post(f"{base}/finetunejobs/{{name}}/progress", receiver.on_progress)
    app.router.add_post(f"{base}/iacmodels/{{name}}/heartbeat", receiver.on_heartbeat)
    return app
