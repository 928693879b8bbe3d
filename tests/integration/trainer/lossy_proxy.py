"""A TCP proxy between a stage and a service that loses connections at random."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HOW = ("pass", "pass", "pass", "before", "after", "midway")
"""Where a request is cut: not at all, before the service gets it, before its response, or within that."""


@dataclass
class LossyProxy:
    """Cuts some requests, chosen by their content, the first time that they come."""

    target: str
    seen: set[bytes] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HOW, 0))
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    running: dict[tuple[str, int], asyncio.Task[None]] = field(default_factory=dict)
    """A task for each connection, by the caller's address."""
    answer_lost: list[bytes] = field(default_factory=list)
    """Bodies that the service answered in vain."""

    def how(self, request: bytes) -> str:
        if request in self.seen:
            return "pass"
        self.seen.add(request)
        return random.Random(hashlib.sha256(request).digest()).choice(HOW)

    async def settle(self, url: str) -> None:
        """Return once every connection that was made to the proxy at `url` has ended."""
        address = urlsplit(url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)  # accepted after those before it
        async with asyncio.timeout(10):
            while writer.get_extra_info("sockname") not in self.running:
                self.accepted.clear()
                await self.accepted.wait()
            writer.close()
            await asyncio.gather(*self.running.values())

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running[writer.get_extra_info("peername")] = task
        self.accepted.set()
        await self.relay(reader, writer)

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1]) if length else 0)
            how = self.how(head.split(b" ")[1] + body)
            self.cut[how] += 1
            if how != "before":
                response = await self.ask(head + body)
                if how != "pass":
                    self.answer_lost.append(body)
                writer.write({"pass": response, "after": b""}.get(how, response[: len(response) // 2]))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the stage was killed
        finally:
            writer.close()

    async def ask(self, request: bytes) -> bytes:
        target = urlsplit(self.target)
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        writer.write(request)
        response = await reader.read()  # the request says `Connection: close`
        writer.close()
        return response


@asynccontextmanager
async def lossy(target: str) -> AsyncIterator[tuple[LossyProxy, str]]:
    """Yield a proxy in front of the service at URL `target`, and the proxy's URL."""
    proxy = LossyProxy(target)
    async with await asyncio.start_server(proxy.accept, "127.0.0.1", 0) as server:
        yield proxy, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
