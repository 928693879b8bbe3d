"""Listening of gateway and agent: the socket, how long a connection may be silent, and what of it is logged."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

IDLE_SECONDS = 75.0
"""Longest time without a request: before the first one, until the headers of one are whole, and between two. Proxies
close idle connections after a minute, and should be the first to do so."""
STALLED_SECONDS = 60.0
"""Longest time in which a caller takes nothing of what is sent. Without it, one that does not read would keep its place
for ever."""
SHUTDOWN_SECONDS = 20
"""Time for requests in flight after SIGTERM."""
LOG = logging.getLogger(__name__)


class _TypesOnly(logging.Filter):
    """Leaves the texts of errors out: they quote the line that is no HTTP, and that may be a key or a prompt."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0]:
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", None
            record.exc_info = None
        return True


LOG.addFilter(_TypesOnly())


@asynccontextmanager
async def serving(
    app: web.Application,
    sock: socket.socket,
    context: ssl.SSLContext | None = None,
    *,
    idle_seconds: float = IDLE_SECONDS,
    stalled_seconds: float = STALLED_SECONDS,
) -> AsyncIterator[None]:
    """Serve `app` on `sock`, with TLS if there is a context; packed bodies stay packed."""
    # the kernel hands it on to each connection, and ends one whose window stays shut
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stalled_seconds * 1000))
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=LOG,
        auto_decompress=False,
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
