"""Server-sent events: keep-alives while an answer is generated and verified, then its text, then the verdict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from loraform_gateway.answering import Answerer, PreparedRequest
from loraform_gateway.bodies import Bodies, Body, bodies_for
from loraform_gateway.errors import ApiError, internal_error
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
        events = await _Events.start(request, bodies_for(prepared.request), task)
        return await events.finish(_send_text(events, task, on_answer))
    finally:
        task.cancel()


async def stream_raw(
    request: web.Request, answerer: Answerer, prepared: PreparedRequest, on_answer: OnAnswer
) -> web.StreamResponse:
    """Stream the model's text as it is generated; the last chunk marks it unverified."""
    parts = answerer.stream(prepared)
    first = asyncio.ensure_future(anext(parts))

    async def send(events: _Events) -> None:
        part = await first
        while not isinstance(part, Answer):
            await events.send(events.bodies.piece(*part))
            part = await anext(parts)
        await events.send(events.bodies.end(part))
        on_answer(part)

    try:
        events = await _Events.start(request, bodies_for(prepared.request), first)
        return await events.finish(send(events))
    finally:
        first.cancel()


async def _send_text(events: _Events, task: asyncio.Task[Answer], on_answer: OnAnswer) -> None:
    answer = await task
    for index, choice in enumerate(answer.choices):
        for line in choice.text.splitlines(keepends=True):
            await events.send(events.bodies.piece(index, line))
    await events.send(events.bodies.end(answer))
    on_answer(answer)


class _Events:
    """A started event stream; its status is 200 even if an error follows."""

    def __init__(self, request: web.Request, response: web.StreamResponse, bodies: Bodies) -> None:
        self._request, self._response, self.bodies = request, response, bodies

    @classmethod
    async def start(cls, request: web.Request, bodies: Bodies, text: asyncio.Future[Any]) -> _Events:
        """Return the stream once there is `text`; raises its error if that comes early enough to be a status."""
        await asyncio.wait({text}, timeout=PATIENCE_SECONDS)
        if text.done():
            text.result()
        response = web.StreamResponse(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        response.content_type, response.charset = "text/event-stream", "utf-8"
        await response.prepare(request)
        events = cls(request, response, bodies)
        await events.send(bodies.begin())
        while not text.done():
            await events.comment("keep-alive")
            await asyncio.wait({text}, timeout=KEEP_ALIVE_SECONDS)
        return events

    async def comment(self, text: str) -> None:
        await self._response.write(f": {text}\n\n".encode())

    async def send(self, events: list[Body]) -> None:
        """Send events; those of OpenAI's responses are named by their type."""
        for body in events:
            name = f"event: {body['type']}\n" if "type" in body else ""
            await self._response.write(f"{name}data: {json.dumps(body)}\n\n".encode())

    async def finish(self, work: Awaitable[None]) -> web.StreamResponse:
        """Run `work`, send its error inside the stream, and close the stream."""
        try:
            await work
        except ConnectionResetError:
            raise  # the caller disconnected
        except ApiError as error:
            error.log_reason()
            await self.send(self.bodies.failed(error))
        except Exception as error:
            await self.send(self.bodies.failed(internal_error(self._request, error)))
        if self.bodies.ends_with_done:
            await self._response.write(b"data: [DONE]\n\n")
        await self._response.write_eof()
        return self._response
