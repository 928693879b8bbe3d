"""Server-sent events: keep-alives while an answer is made and verified, then its text in chunks, then the verdict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from loraform_gateway.answering import Answerer, Job
from loraform_gateway.errors import ApiError
from loraform_gateway.openai import Answer, Shape

PATIENCE_SECONDS = 1.0
"""How long an early error can still become an HTTP status."""
KEEP_ALIVE_SECONDS = 5.0
"""Time between comments: proxies close silent connections."""

Written = Callable[[Answer], None]
"""Called once with the answer (its verdict) that a stream gave."""


async def stream_verified(request: web.Request, answerer: Answerer, job: Job, written: Written) -> web.StreamResponse:
    """Stream the verified text: nothing of an answer leaves before its verdict is known."""
    task = asyncio.create_task(answerer.answer(job))
    try:
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        if task.done():
            task.result()  # an error becomes a status
        events = await _Events.start(request, Shape(job.asked))
        while not task.done():
            await events.comment("keep-alive")
            await asyncio.wait({task}, timeout=KEEP_ALIVE_SECONDS)
        return await events.finish(_whole(events, task, written))
    finally:
        task.cancel()


async def stream_raw(request: web.Request, answerer: Answerer, job: Job, written: Written) -> web.StreamResponse:
    """Stream the model's own text as it comes, marked unverified at the end."""
    parts = answerer.stream(job)
    first = await anext(parts)  # an error becomes a status
    events = await _Events.start(request, Shape(job.asked))

    async def rest() -> None:
        part, is_first = first, True
        while isinstance(part, str):
            await events.send(events.shape.piece(part, first=is_first))
            part, is_first = await anext(parts), False
        await events.end(part)
        written(part)

    return await events.finish(rest())


async def _whole(events: _Events, task: asyncio.Task[Answer], written: Written) -> None:
    answer = await task
    for number, line in enumerate(answer.text.splitlines(keepends=True) or [""]):
        await events.send(events.shape.piece(line, first=number == 0))
    await events.end(answer)
    written(answer)


class _Events:
    """One event stream that has begun: its status is 200 whatever follows."""

    def __init__(self, response: web.StreamResponse, shape: Shape) -> None:
        self._response, self.shape = response, shape

    @classmethod
    async def start(cls, request: web.Request, shape: Shape) -> _Events:
        response = web.StreamResponse(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        response.content_type, response.charset = "text/event-stream", "utf-8"
        await response.prepare(request)
        return cls(response, shape)

    async def comment(self, text: str) -> None:
        await self._response.write(f": {text}\n\n".encode())

    async def send(self, body: dict[str, Any]) -> None:
        await self._response.write(f"data: {json.dumps(body)}\n\n".encode())

    async def end(self, answer: Answer) -> None:
        """Send the final chunk, and the usage where it was asked for."""
        await self.send(self.shape.last(answer.finish_reason, answer.loraform))
        if self.shape.asked.include_usage:
            await self.send(self.shape.usage(answer.usage))

    async def finish(self, work: Awaitable[None]) -> web.StreamResponse:
        """Do `work`, tell the caller of an error inside the stream, and close it."""
        try:
            await work
        except ApiError as error:
            await self.send(error.body())
        await self._response.write(b"data: [DONE]\n\n")
        await self._response.write_eof()
        return self._response
