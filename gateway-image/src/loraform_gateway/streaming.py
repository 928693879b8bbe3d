"""Server-sent events: keep-alives while an answer is generated and verified, then its text, then the verdict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from loraform_gateway.answering import Answerer, PreparedRequest
from loraform_gateway.errors import ApiError
from loraform_gateway.openai import Answer, BodyWriter

PATIENCE_SECONDS = 1.0
"""Seconds in which an early error can still become an HTTP status."""
KEEP_ALIVE_SECONDS = 5.0
"""Seconds between keep-alive comments; proxies close idle connections."""

OnAnswer = Callable[[Answer], None]
"""Callback that receives the streamed answer once."""


async def stream_verified(
    request: web.Request, answerer: Answerer, prepared: PreparedRequest, on_answer: OnAnswer
) -> web.StreamResponse:
    """Stream the verified text; no part of it is sent before the verdict is known."""
    task = asyncio.create_task(answerer.answer(prepared))
    try:
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        if task.done():
            task.result()  # an error becomes a status
        events = await _Events.start(request, BodyWriter(prepared.request))
        while not task.done():
            await events.comment("keep-alive")
            await asyncio.wait({task}, timeout=KEEP_ALIVE_SECONDS)
        return await events.finish(_send_text(events, task, on_answer))
    finally:
        task.cancel()


async def stream_raw(
    request: web.Request, answerer: Answerer, prepared: PreparedRequest, on_answer: OnAnswer
) -> web.StreamResponse:
    """Stream the model's text as it is generated; the last chunk marks it unverified."""
    parts = answerer.stream(prepared)
    first = await anext(parts)  # an error becomes a status
    events = await _Events.start(request, BodyWriter(prepared.request))

    async def rest() -> None:
        part, is_first = first, True
        while isinstance(part, str):
            await events.send(events.bodies.piece(part, first=is_first))
            part, is_first = await anext(parts), False
        await events.end(part)
        on_answer(part)

    return await events.finish(rest())


async def _send_text(events: _Events, task: asyncio.Task[Answer], on_answer: OnAnswer) -> None:
    answer = await task
    for number, line in enumerate(answer.text.splitlines(keepends=True) or [""]):
        await events.send(events.bodies.piece(line, first=number == 0))
    await events.end(answer)
    on_answer(answer)


class _Events:
    """A started event stream; its status is 200 even if an error follows."""

    def __init__(self, response: web.StreamResponse, bodies: BodyWriter) -> None:
        self._response, self.bodies = response, bodies

    @classmethod
    async def start(cls, request: web.Request, bodies: BodyWriter) -> _Events:
        response = web.StreamResponse(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        response.content_type, response.charset = "text/event-stream", "utf-8"
        await response.prepare(request)
        return cls(response, bodies)

    async def comment(self, text: str) -> None:
        await self._response.write(f": {text}\n\n".encode())

    async def send(self, body: dict[str, Any]) -> None:
        await self._response.write(f"data: {json.dumps(body)}\n\n".encode())

    async def end(self, answer: Answer) -> None:
        """Send the final chunk and, if requested, the usage."""
        await self.send(self.bodies.last(answer.finish_reason, answer.loraform))
        if self.bodies.request.include_usage:
            await self.send(self.bodies.usage(answer.usage))

    async def finish(self, work: Awaitable[None]) -> web.StreamResponse:
        """Run `work`, send its ApiError inside the stream, and close the stream."""
        try:
            await work
        except ApiError as error:
            error.log_reason()
            await self.send(error.body())
        await self._response.write(b"data: [DONE]\n\n")
        await self._response.write_eof()
        return self._response
