"""The verifier as an HTTP service: `POST /v1/verify` and `GET /healthz`.

There is one run at a time, since a terraform run uses all processors; requests that wait share the next one (`queue`).
Requests and responses are models of `loraform_api.verification` in JSON; errors are `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from aiohttp import web
from pydantic import ValidationError

from loraform_api.verification import VerifyRequest, VerifyResponse
from loraform_verifier.http.cache import CachingQueue, VerdictCache
from loraform_verifier.http.queue import Queue, TooLate, Verifiers
from loraform_verifier.verify import RequestError, Verifier

LOG = logging.getLogger(__name__)
MAX_BODY = 32 * 1024 * 1024
MAX_WAITING = 64
"""Requests in progress or waiting; further ones get status 503."""
MAX_WAITING_BYTES = 2 * MAX_BODY
"""Bytes of the bodies of those requests: in memory, what is parsed of them takes as much again, or four times as much
where text is beyond ASCII. It leaves room for a largest request beside those of single programs."""
IDLE_SECONDS = 75
"""Longest silence of a connection: until the headers of a request are whole, and between two requests. Our clients use
one connection for each request."""
BUSY_SECONDS = 10
"""`Retry-After` when the queue is full: what takes so long is not known."""
READ_SECONDS = 60
"""Time limit for a request body, so that slow clients do not fill the queue."""
MAX_NAME = 60
"""Characters of an unknown field's name that an error message repeats."""

_VERIFIER = web.AppKey("verifier", Verifier)
_QUEUE = web.AppKey("queue", Queue)
_CACHE = web.AppKey("cache", CachingQueue)
_PENDING: web.AppKey[dict[object, int]] = web.AppKey("pending", dict)
"""Bytes of the body of each request in progress or waiting."""


def application(verifiers: Verifiers, warm_up: Callable[[], None] = lambda: None) -> web.Application:
    """Return the application that serves one verifier; it is healthy once `warm_up` has run."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_error_response])
    queue = Queue(verifiers, warm_up)
    app[_VERIFIER], app[_QUEUE], app[_PENDING] = verifiers.large, queue, {}
    app[_CACHE] = CachingQueue(queue, verifiers.large.toolchain, VerdictCache())
    app.cleanup_ctx.append(_run_queue)
    app.router.add_post("/v1/verify", _verify)
    app.router.add_get("/healthz", _healthz)
    return app


async def _run_queue(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(app[_QUEUE].run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _verify(http: web.Request) -> web.Response:
    pending, ticket, size = http.app[_PENDING], object(), _announced_bytes(http)
    if len(pending) >= MAX_WAITING or sum(pending.values()) + size > MAX_WAITING_BYTES:
        limits = f"{MAX_WAITING} requests or {MAX_WAITING_BYTES >> 20} MiB of them"
        return _busy("Busy", f"at most {limits} may wait; try again later", BUSY_SECONDS)
    pending[ticket] = size
    try:
        body = await _read(http)
        pending[ticket] = len(body)
        # Custom resources allow unknown fields in a policy; here they are errors, as they would be ignored rules.
        request = VerifyRequest.model_validate_json(body, extra="forbid")
        http.app[_VERIFIER].check(request)
        response = await _answer(http.app, request)
    except TooLate as error:
        return _busy("TooLate", str(error), error.retry_after)
    finally:
        del pending[ticket]
    LOG.info("verified programs=%d passed=%d seconds=%.2f", *_figures(response))
    return web.Response(text=response.model_dump_json(by_alias=True), content_type="application/json")


async def _answer(app: web.Application, request: VerifyRequest) -> VerifyResponse:
    """Return the response, or raise TooLate: at once if it is not expected in the request's time, or at its end."""
    try:
        async with asyncio.timeout(request.within):
            return await app[_CACHE].submit(request)
    except TimeoutError as error:
        if request.within is None:
            raise
        wait = app[_QUEUE].retry_after(request)
        raise TooLate(f"not verified within {request.within:g} s; ask again in {wait} s", wait) from error


def _announced_bytes(http: web.Request) -> int:
    """Return the bytes that a body may have by its headers; compressed, or without a length, it may have any."""
    length = None if "Content-Encoding" in http.headers else http.content_length
    return MAX_BODY if length is None else min(length, MAX_BODY)


async def _read(http: web.Request) -> bytes:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await http.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error


async def _healthz(http: web.Request) -> web.Response:
    """Return 200 once the verifier can answer at its usual speed."""
    status = {"status": "ok" if http.app[_QUEUE].ready else "starting"}
    about = {**status, "toolchain": http.app[_VERIFIER].toolchain.model_dump(by_alias=True)}
    return web.json_response(about, status=200 if http.app[_QUEUE].ready else 503)


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


def _busy(code: str, message: str, retry_after: int) -> web.Response:
    refusal = _refusal(503, code, message)
    refusal.headers["Retry-After"] = str(retry_after)
    return refusal


def _figures(response: VerifyResponse) -> tuple[int, int, float]:
    return len(response.verdicts), sum(v.passed for v in response.verdicts), response.seconds
