"""Listening of gateway and agent: the socket, and how long a connection may be silent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

IDLE_SECONDS = 75.0
"""Longest time without a request: before the first one, until the headers of one are whole, and between two. Proxies
close idle connections after a minute, and should be the first to do so."""
SHUTDOWN_SECONDS = 20
"""Time for requests in flight after SIGTERM."""


@asynccontextmanager
async def serving(
    app: web.Application,
    sock: socket.socket,
    context: ssl.SSLContext | None = None,
    *,
    idle_seconds: float = IDLE_SECONDS,
) -> AsyncIterator[None]:
    """Serve `app` on `sock`, with TLS if there is a context."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_SECONDS,
        keepalive_timeout=idle_seconds,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, sock, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


def listening_socket(host: str | None, port: int) -> socket.socket:
    """Return a socket that listens on `host`, or on all addresses, IPv4 and (where the kernel has it) IPv6."""
    if host is not None:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
