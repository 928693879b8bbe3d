"""Real sockets that are silent or slow: the server closes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from loraform_gateway.listening import listening_socket, serving

IDLE_SECONDS = 0.5
DEADLINE_SECONDS = 15
WHOLE = b"GET / HTTP/1.1\r\nHost: g\r\n\r\n"


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/", hello)
    return app


@pytest.fixture
async def port() -> AsyncIterator[int]:
    sock = listening_socket("127.0.0.1", 0)
    async with serving(application(), sock, idle_seconds=IDLE_SECONDS):
        yield sock.getsockname()[1]


async def open_until_closed(port: int, first: bytes = b"", drip: bytes = b"") -> bytes:
    """Send `first`, then `drip` again and again; return all that came before the server closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)

    async def drop() -> None:
        while drip:
            writer.write(drip)
            await asyncio.sleep(IDLE_SECONDS / 20)

    dropping = asyncio.create_task(drop())
    try:
        return await asyncio.wait_for(reader.read(), DEADLINE_SECONDS)
    finally:
        dropping.cancel()
        writer.close()


async def test_a_hundred_silent_sockets_are_closed(port: int) -> None:
    assert await asyncio.gather(*(open_until_closed(port) for _ in range(100))) == [b""] * 100


@pytest.mark.parametrize("first", [b"", WHOLE], ids=["first request", "second request"])
async def test_headers_that_never_end_are_given_up(port: int, first: bytes) -> None:
    answers = await open_until_closed(port, first + b"GET / HTTP/1.1\r\n", b"X-More: 1\r\n")
    assert answers.count(b"hello") == (1 if first else 0)


async def test_a_connection_without_a_further_request_is_closed(port: int) -> None:
    assert b"hello" in await open_until_closed(port, WHOLE)
