"""Real sockets that are silent, slow or speak no HTTP: the server closes them, and logs nothing that they sent."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from aiohttp import web

from loraform_gateway.listening import listening_socket, serving

IDLE_SECONDS = 0.5
STALLED_SECONDS = 1.0
LARGE = b"x" * (16 << 20)
"""More than the buffers of two sockets hold."""
DEADLINE_SECONDS = 15
WHOLE = b"GET / HTTP/1.1\r\nHost: g\r\n\r\n"


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


class Large:
    """Answers with more than a caller takes that does not read."""

    transport: asyncio.Transport | None = None

    async def whole(self, request: web.Request) -> web.Response:
        self.transport = request.transport
        return web.Response(body=LARGE)

    async def streamed(self, request: web.Request) -> web.StreamResponse:
        self.transport, response = request.transport, web.StreamResponse()
        await response.prepare(request)
        for _ in range(16):
            await response.write(LARGE[: 1 << 20])
        return response

    async def closed(self) -> None:
        """Return once the connection is closed."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.transport is None or not self.transport.is_closing():  # noqa: ASYNC110 - the kernel closes it
                await asyncio.sleep(0.05)


@pytest.fixture
def large() -> Large:
    return Large()


@pytest.fixture
async def port(large: Large) -> AsyncIterator[int]:
    sock, app = listening_socket("127.0.0.1", 0), web.Application()
    app.router.add_get("/", hello)
    app.router.add_post("/", echo)
    app.router.add_get("/whole", large.whole)
    app.router.add_get("/streamed", large.streamed)
    async with serving(app, sock, idle_seconds=IDLE_SECONDS, stalled_seconds=STALLED_SECONDS):
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


@pytest.mark.parametrize("path", ["whole", "streamed"])
async def test_a_caller_that_does_not_read_is_disconnected(port: int, large: Large, path: str) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as caller:
        caller.sendall(f"GET /{path} HTTP/1.1\r\nHost: g\r\n\r\n".encode())
        await large.closed()


async def test_a_caller_that_reads_slowly_gets_all(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(b"GET /streamed HTTP/1.0\r\nHost: g\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    got, began = 0, asyncio.get_running_loop().time()
    while part := await asyncio.wait_for(reader.read(1 << 20), DEADLINE_SECONDS):
        got += len(part)
        await asyncio.sleep(STALLED_SECONDS / 64)  # the caller is slow
    writer.close()
    assert got == len(LARGE)
    assert asyncio.get_running_loop().time() - began > STALLED_SECONDS


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer hunter2" + b"k" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer hunter2\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: g\r\nAuthorization : Bearer hunter2\r\n\r\n",
        b"GET /?key=hunter2" + b"k" * 9000 + b" HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET /?key=hunter2 HTTP/1.1 x\r\nHost: g\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\n{}A queue named hunter2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\nhunter2\r\n",
    ],
    ids=["long header", "no text", "space before colon", "long path", "no HTTP", "longer than announced", "no chunk"],
)
async def test_what_is_no_http_is_not_logged(port: int, caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    caplog.set_level(logging.DEBUG)
    assert b" 400 " in await open_until_closed(port, sent)
    assert "Error handling request from 127.0.0.1: " in caplog.text, "the type of the error"
    assert "hunter2" not in caplog.text


async def test_bodies_are_not_unpacked(port: int) -> None:
    """A megabyte unpacks to a gigabyte."""
    body = gzip.compress(b"x" * 1000)
    head = f"POST / HTTP/1.1\r\nHost: g\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    assert (await open_until_closed(port, head.encode() + body)).endswith(body)
