"""Server-sent events: keep-alives while an answer is generated and verified, then its text, then the verdict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from loraform_gateway.answering import Answerer, PreparedRequest
from loraform_gateway.bodies import Bodies, Body, bodies_for
from loraform_gateway.errors import ApiError
from loraform_gateway.openai import Answer

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
        events = await _Events.start(request, bodies_for(prepared.request))
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
    events = await _Events.start(request, bodies_for(prepared.request))

    async def rest() -> None:
        part = first
        while not isinstance(part, Answer):
            await events.send(events.bodies.piece(*part))
            part = await anext(parts)
        await events.send(events.bodies.end(part))
        on_answer(part)

    return await events.finish(rest())


async def _send_text(events: _Events, task: asyncio.Task[Answer], on_answer: OnAnswer) -> None:
    answer = await task
    for index, choice in enumerate(answer.choices):
        for line in choice.text.splitlines(keepends=True):
            await events.send(events.bodies.piece(index, line))
    await events.send(events.bodies.end(answer))
    on_answer(answer)


class _Events:
    """A started event stream; its status is 200 even if an error follows."""

    def __init__(self, response: web.StreamResponse, bodies: Bodies) -> None:
        self._response, self.bodies = response, bodies

    @classmethod
    async def start(cls, request: web.Request, bodies: Bodies) -> _Events:
        response = web.StreamResponse(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        response.content_type, response.charset = "text/event-stream", "utf-8"
        await response.prepare(request)
        events = cls(response, bodies)
        await events.send(bodies.begin())
        return events

    async def comment(self, text: str) -> None:
        await self._response.write(f": {text}\n\n".encode())

    async def send(self, events: list[Body]) -> None:
        """Send events; those of OpenAI's responses are named by their type."""
        for body in events:
            name = f"event: {body['type']}\n" if "type" in body else ""
            await self._response.write(f"{name}data: {json.dumps(body)}\n\n".encode())

    async def finish(self, work: Awaitable[None]) -> web.StreamResponse:
        """Run `work`, send its ApiError inside the stream, and close the stream."""
        try:
            await work
        except ApiError as error:
            error.log_reason()
            await self.send(self.bodies.failed(error))
        if self.bodies.ends_with_done:
            await self._response.write(b"data: [DONE]\n\n")
        await self._response.write_eof()
        return self._response
