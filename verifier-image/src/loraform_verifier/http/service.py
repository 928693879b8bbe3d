"""The verifier as an HTTP service: `POST /v1/verify` and `GET /healthz`.

It verifies one request at a time, since a terraform run uses all processors; other requests wait. Requests and
responses are models of `loraform_api.verification` in JSON; errors are `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import ValidationError

from loraform_api.verification import VerifyRequest, VerifyResponse
from loraform_verifier.verify import RequestError, Verifier

LOG = logging.getLogger(__name__)
MAX_BODY = 32 * 1024 * 1024
MAX_WAITING = 64
"""Requests in progress or waiting; further ones get status 503."""
RETRY_SECONDS = 10
READ_SECONDS = 60
"""Time limit for a request body, so that slow clients do not fill the queue."""
MAX_NAME = 60
"""Characters of an unknown field's name that an error message repeats."""

_VERIFIER = web.AppKey("verifier", Verifier)
_TURN = web.AppKey("turn", asyncio.Lock)
_PENDING: web.AppKey[set[object]] = web.AppKey("pending", set)


def application(verifier: Verifier) -> web.Application:
    """Return the application that serves one verifier."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_error_response])
    app[_VERIFIER], app[_TURN], app[_PENDING] = verifier, asyncio.Lock(), set()
    app.router.add_post("/v1/verify", _verify)
    app.router.add_get("/healthz", _healthz)
    return app


async def _verify(http: web.Request) -> web.Response:
    pending, ticket = http.app[_PENDING], object()
    if len(pending) >= MAX_WAITING:
        busy = _refusal(503, "Busy", f"{MAX_WAITING} requests are waiting; try again later")
        busy.headers["Retry-After"] = str(RETRY_SECONDS)
        return busy
    pending.add(ticket)
    try:
        request = await _read(http)
        # Shielded: after a client disconnects, its run keeps the lock until its terraform has ended.
        response = await asyncio.shield(_in_turn(http.app, request))
    finally:
        pending.discard(ticket)
    LOG.info("verified programs=%d passed=%d seconds=%.2f", *_figures(response))
    return web.Response(text=response.model_dump_json(by_alias=True), content_type="application/json")


async def _read(http: web.Request) -> VerifyRequest:
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await http.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    # Custom resources allow unknown fields in a policy; here they are errors, as they would be ignored rules.
    return VerifyRequest.model_validate_json(body, extra="forbid")


async def _in_turn(app: web.Application, request: VerifyRequest) -> VerifyResponse:
    async with app[_TURN]:
        return await asyncio.to_thread(app[_VERIFIER].verify, request)


async def _healthz(http: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "toolchain": http.app[_VERIFIER].toolchain.model_dump(by_alias=True)})


@web.middleware
async def _error_response(  # noqa: PLR0911 - one return for each kind of error
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValidationError as error:
        return _refusal(400, "InvalidRequest", _first_error(error))
    except RequestError as error:
        return _refusal(400, "InvalidRequest", str(error))
    except web.HTTPRequestEntityTooLarge:
        return _refusal(413, "TooLarge", f"the body may have at most {MAX_BODY} bytes; send fewer programs at a time")
    except web.RequestPayloadError:
        return _refusal(400, "InvalidRequest", "body: it cannot be decoded as its headers specify")
    except ConnectionResetError:
        return _refusal(400, "Disconnected", "the client closed the connection")
    except web.HTTPException as error:
        return _refusal(error.status, error.reason.replace(" ", ""), f"{request.method} {request.path}: {error.reason}")


def _first_error(error: ValidationError) -> str:
    # The invalid value is left out, since it may be a whole program.
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part)[:MAX_NAME] for part in first['loc']) or 'body'}: {first['msg']}"


def _refusal(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def _figures(response: VerifyResponse) -> tuple[int, int, float]:
    return len(response.verdicts), sum(v.passed for v in response.verdicts), response.seconds
