"""Cross-origin requests: which web pages may ask. Errors carry the headers too, or a page could not read them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from aiohttp import hdrs, web

from loraform_engine.client import REQUEST_ID
from loraform_gateway.errors import ApiError

METHODS = "GET, POST"
ALLOWED_HEADERS = frozenset({"accept", "authorization", "content-type", "user-agent", REQUEST_ID.lower()})
CLIENT_HEADERS = ("openai-", "x-stainless-")
"""Prefixes of the headers that OpenAI's client libraries add."""
EXPOSED_HEADERS = f"{REQUEST_ID}, Retry-After"
"""Response headers that a page may read."""
PREFLIGHT_SECONDS = 600
"""Seconds for which a browser remembers the answer to a preflight request."""


class CrossOrigin:
    """The configured origins; `*` allows all, and no origins allow none."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    @web.middleware
    async def preflight(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer OPTIONS of a web page, which carries no key; other requests pass."""
        if not self._origins or request.method != hdrs.METH_OPTIONS or hdrs.ORIGIN not in request.headers:
            return await handler(request)
        if self._allowed(request) is None:
            raise ApiError(
                403,
                "origin_not_allowed",
                "the page's origin is not in `spec.serving.cors.allowedOrigins`: add it there",
            )
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
        headers = [name for name in (word.strip().lower() for word in asked.split(",")) if _may_send(name)]
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(headers or sorted(ALLOWED_HEADERS)),
                hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
            },
        )

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Name the page's origin if it is allowed; a callback for `Application.on_response_prepare`."""
        if not self._origins:
            return
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        if (origin := self._allowed(request)) is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS

    def _allowed(self, request: web.Request) -> str | None:
        origin = request.headers.get(hdrs.ORIGIN, "")
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None


def _may_send(header: str) -> bool:
    return header in ALLOWED_HEADERS or header.startswith(CLIENT_HEADERS)
