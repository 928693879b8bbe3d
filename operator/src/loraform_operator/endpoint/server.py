"""The HTTPS endpoint that our pods call: progress of runs, heartbeats of gateways and agents.

Each request is checked in this order, cheapest first: the custom resource exists, the token is for it, the pod of the
token is one of its pods, the pod does not call too often, the body is small and well-formed.
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
from loraform_operator.endpoint.progress import ProgressStore, Report
from loraform_operator.endpoint.tokens import Caller, TokenVerifier, Unauthorized
from loraform_operator.kube.errors import first_error

log = logging.getLogger(__name__)

BODY_LIMIT = 16 * 1024
SECONDS_BETWEEN_CALLS = 1.0
CALLERS_KNOWN = 10_000
Message = TypeVar("Message", bound=BaseModel)


@dataclass
class RateLimit:
    """At most one call per `SECONDS_BETWEEN_CALLS` and pod."""

    clock: Callable[[], float]
    _last: dict[str, float] = field(default_factory=dict)

    def allows(self, pod_uid: str) -> bool:
        """Count a call and say whether it may go on."""
        now = self.clock()
        if now - self._last.get(pod_uid, -SECONDS_BETWEEN_CALLS) < SECONDS_BETWEEN_CALLS:
            return False
        if len(self._last) >= CALLERS_KNOWN:
            self._last = {u: t for u, t in self._last.items() if now - t < SECONDS_BETWEEN_CALLS}
        self._last[pod_uid] = now
        return True


@dataclass(frozen=True)
class Receiver:
    """The handlers and what they work with."""

    cache: Cache
    tokens: TokenVerifier
    rate: RateLimit
    progress: ProgressStore
    heartbeats: HeartbeatStore
    routes: RouteStore
    clock: Callable[[], datetime]
    wake: Callable[[Key], None]

    async def on_progress(self, request: web.Request) -> web.Response:
        """Take a KEP-2779 progress message of a run's pod."""
        key, caller = await self._admit(request, Kind.FINE_TUNE_JOB)
        message = await _read(request, ProgressMessage)
        self.progress.record((key.namespace, key.name), Report(message.trainer_status, caller.pod_uid, self.clock()))
        self.wake(key)
        return web.json_response({})

    async def on_heartbeat(self, request: web.Request) -> web.Response:
        """Take a heartbeat and answer with the route in force; 503 until the operator knows it."""
        key, caller = await self._admit(request, Kind.IAC_MODEL)
        heartbeat = await _read(request, Heartbeat)
        if self.heartbeats.record((key.namespace, key.name), caller.pod_uid, heartbeat, self.clock()):
            self.wake(key)
        route = self.routes.get((key.namespace, key.name))
        if route is None:
            raise web.HTTPServiceUnavailable(text="the route is not known yet", headers={"Retry-After": "2"})
        return web.json_response(text=route.model_dump_json(by_alias=True, exclude_none=True))

    async def _admit(self, request: web.Request, kind: Kind) -> tuple[Key, Caller]:
        key = Key(kind, request.match_info["namespace"], request.match_info["name"])
        body = self.cache.get(key)
        if body is None:
            raise web.HTTPNotFound(text=f"there is no {kind} {key.namespace}/{key.name}")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise web.HTTPUnauthorized(text="a bearer token is needed")
        wanted = audience(key.namespace, key.name, body["metadata"]["uid"])
        try:
            caller = await self.tokens.verify(token.strip(), wanted)
        except Unauthorized as error:
            log.info("refused a call for %s/%s: %s", key.namespace, key.name, error)
            raise web.HTTPUnauthorized(text=str(error)) from error
        pods = {c["metadata"]["uid"] for c in self.cache.owned(key) if c["kind"] == "Pod"}
        if caller.namespace != key.namespace or caller.pod_uid not in pods:
            raise web.HTTPForbidden(text=f"pod {caller.namespace}/{caller.pod} is none of {kind} {key.name}'s pods")
        if not self.rate.allows(caller.pod_uid):
            raise web.HTTPTooManyRequests(text="at most one call a second", headers={"Retry-After": "1"})
        return key, caller


async def _read(request: web.Request, model: type[Message]) -> Message:
    """Read the body as `model`; 413 when it is too long, 400 when it is not one."""
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        raise web.HTTPBadRequest(text=first_error(error)) from error


def application(receiver: Receiver) -> web.Application:
    """Return the web application with its two routes."""
    app = web.Application(client_max_size=BODY_LIMIT)
    base = "/v1/namespaces/{namespace}"
    app.router.add_post(f"{base}/finetunejobs/{{name}}/progress", receiver.on_progress)
    app.router.add_post(f"{base}/iacmodels/{{name}}/heartbeat", receiver.on_heartbeat)
    return app
