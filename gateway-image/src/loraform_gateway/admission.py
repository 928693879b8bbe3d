"""Which requests are let in: of an allowed page, with a known key, within its limits, with a body that ends in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from loraform_api.heartbeat import Authentication
from loraform_gateway.cors import CrossOrigin
from loraform_gateway.errors import ApiError
from loraform_gateway.keys import Authenticator, caller
from loraform_gateway.limits import Limits
from loraform_gateway.metrics import Metrics
from loraform_gateway.tls import Certificate

BODY_LIMIT = 2 << 20
"""Most bytes of a request: the longest instruction and input, also with each character as `\\u…`."""
BODY_SECONDS = 30.0
"""Longest time for the body of a request to arrive."""


@dataclass(frozen=True)
class Admission:
    """What a request passes before it is read."""

    authenticator: Authenticator
    cross_origin: CrossOrigin
    limits: Limits
    metrics: Metrics
    certificate: Certificate | None = None
    body_seconds: float = BODY_SECONDS

    @property
    def middlewares(self) -> list[Middleware]:
        """The checks, in their order; they belong inside the middleware that shapes errors."""
        return [self.cross_origin.preflight, self.authenticator.authenticate, self._let_in]

    @property
    def authentication(self) -> Authentication:
        return Authentication.API_KEY if self.authenticator.demands_keys else Authentication.OPEN

    @property
    def problem(self) -> str:
        """Why nobody can be answered, where only the user can help; empty when nothing is wrong."""
        return (self.certificate.problem if self.certificate else "") or self.authenticator.problem

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Hold one of the caller's requests in flight, and read the body within size and time."""
        if request.method != "POST":
            return await handler(request)
        with self.limits.request(caller()), self.metrics.in_flight.labels(caller()).track_inprogress():
            if (request.content_length or 0) > BODY_LIMIT:
                raise web.HTTPRequestEntityTooLarge(BODY_LIMIT)
            if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
                raise ApiError(415, "unsupported_encoding", "packed bodies are not read: leave out `Content-Encoding`")
            await read_body(request, self.body_seconds)
            return await handler(request)


async def read_body(request: web.Request, seconds: float = BODY_SECONDS) -> bytes:
    """Return the body, which the request keeps; raises ApiError 408 when it does not arrive in time."""
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError as error:
        message = f"the body did not arrive within {seconds:g} s: send it faster, or a shorter one"
        raise ApiError(408, "body_timeout", message) from error
