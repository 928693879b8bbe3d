"""The id of each request: its caller gets it, and the log has it beside the reason of an error."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from aiohttp import web

from loraform_engine.client import REQUEST_ID

_CURRENT: ContextVar[str] = ContextVar("request_id", default="")
_GIVEN = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""Ids of callers that are taken over; others could forge log lines."""


def current() -> str:
    """Return the id of the request that this task serves; empty outside of one."""
    return _CURRENT.get()


@web.middleware
async def identify(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give the request its caller's id, or a new one."""
    given = request.headers.get(REQUEST_ID, "")
    _CURRENT.set(given if _GIVEN.fullmatch(given) else uuid.uuid4().hex)
    return await handler(request)


async def add_header(request: web.Request, response: web.StreamResponse) -> None:
    """Set the response's header; a callback for `Application.on_response_prepare`."""
    response.headers[REQUEST_ID] = current()
