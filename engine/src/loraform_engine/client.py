"""Client of vLLM's HTTP API, for trainer, gateway and agent.

A request is repeated, a few times, when it got no answer: none of them changes what the engine answers later, and
`load` looks first at what is loaded.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from loraform_api.names import ENGINE_MODEL
from loraform_engine.errors import EngineRefused, EngineUnreachable
from loraform_engine.sampling import Sampling

LOG = logging.getLogger(__name__)
SHORT = aiohttp.ClientTimeout(total=10, sock_connect=3)
LOAD = aiohttp.ClientTimeout(total=120, sock_connect=3)
GENERATE = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=900)
WHOLE = frozenset(("stop", "length"))
"""Values of `finish_reason` of an answer that the model ended, or its limit; any other is of an engine that stops."""
PAUSES = (0.0, 0.2, 1.0)
"""Seconds before each repetition of a request."""
POLL_SECONDS = 1.0
"""Seconds between two health checks."""
REQUEST_ID = "X-Request-Id"
"""Header with the request id that gateway and agent log."""
GREEDY = Sampling()

T = TypeVar("T")


def engine_session() -> aiohttp.ClientSession:
    """Return a session for `Engine` in which every request has a connection of its own.

    vLLM closes an idle connection after five seconds, and a request that was just sent on it is lost. Also, requests of
    one gateway spread over all engines of a Service.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))


def completion(
    model: str,
    prompt: Sequence[int],
    *,
    max_tokens: int,
    stops: Sequence[int],
    sampling: Sampling = GREEDY,
    n: int = 1,
) -> dict[str, Any]:
    """Return the body of `n` completions, of which each ends at a token of `stops`.

    It sets every sampling parameter, so that the engine's defaults have no effect. vLLM refuses several greedy ones.
    """
    return {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": max_tokens,
        "n": n,
        "stop_token_ids": list(stops),
        "skip_special_tokens": True,
        **sampling.model_dump(exclude_none=True),
    }


class Engine:
    """A client of one engine, or of an agent in front of it. Methods raise EngineUnreachable and EngineRefused."""

    def __init__(self, session: aiohttp.ClientSession, url: str, pauses: Sequence[float] = PAUSES) -> None:
        self._session, self._url, self._pauses = session, url.rstrip("/"), pauses

    async def healthy(self) -> bool:
        """Return whether the health check succeeds."""
        try:
            return (await self._send("GET", "/health", None, SHORT))[0] == 200
        except EngineUnreachable:
            return False

    async def wait_until_healthy(self, seconds: float) -> None:
        """Return once the health check succeeds; raises EngineUnreachable after `seconds`."""
        deadline = time.monotonic() + seconds
        while not await self.healthy():
            if time.monotonic() >= deadline:
                raise EngineUnreachable(f"the engine was not ready after {seconds:.0f} s; see its container's log")
            await asyncio.sleep(POLL_SECONDS)

    async def version(self) -> str:
        """Return vLLM's version, such as `0.32.0`."""
        answer = await self._repeated(lambda: self._get("/version"))
        return str(answer.get("version")) if isinstance(answer, dict) else "unknown"

    async def models(self) -> dict[str, dict[str, Any]]:
        """Return the served models by name: the base and each loaded adapter. This request is not repeated."""
        try:
            return {entry["id"]: entry for entry in (await self._get("/v1/models"))["data"]}
        except (KeyError, TypeError) as error:
            raise EngineUnreachable("the engine's list of models is malformed") from error

    async def max_length(self) -> int:
        """Return the maximum tokens of a sequence, prompt and answer together."""
        try:
            return int((await self._repeated(self.models))[ENGINE_MODEL]["max_model_len"])
        except (KeyError, TypeError) as error:
            raise EngineUnreachable(f"the engine's list of models has no length of '{ENGINE_MODEL}'") from error

    async def load(self, name: str, path: str) -> None:
        """Load the adapter in folder `path` under `name`, unless it is loaded."""
        await self._repeated(lambda: self._load(name, path))

    async def unload(self, name: str) -> None:
        """Unload an adapter; EngineRefused with status 404 when it is not loaded."""
        _checked(*await self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name}, SHORT))

    async def complete(self, body: Mapping[str, Any], *, request_id: str = "") -> dict[str, Any]:
        """Return the response to a completion request; it is the answer of the model that `body` names."""
        return await self._repeated(lambda: self._complete(body, request_id), request_id)

    async def stream(self, body: Mapping[str, Any], *, request_id: str = "") -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a streamed completion; the request is repeated only before the first event."""
        for pause in (*self._pauses, None):
            started = False
            try:
                async for event in self._stream({**body, "stream": True}, request_id):
                    started = True
                    yield event
                return
            except EngineUnreachable as error:
                if started or pause is None or not error.may_repeat:
                    raise
                _log_repetition(request_id, pause, error)
            await asyncio.sleep(pause)

    async def _stream(self, body: Mapping[str, Any], request_id: str) -> AsyncIterator[dict[str, Any]]:
        try:
            async with self._session.post(
                f"{self._url}/v1/completions", json=body, timeout=GENERATE, headers=_headers(request_id)
            ) as reply:
                if reply.status != 200:
                    _checked(reply.status, await reply.text())
                async for line in reply.content:
                    data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
                    if data == b"[DONE]":
                        return
                    if data:
                        yield _event(body, data)
        except _ERRORS as error:
            raise _unreachable(error) from error
        raise EngineUnreachable("the engine ended the stream early")

    async def _load(self, name: str, path: str) -> None:
        if name in await self.models():
            return
        status, text = await self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, LOAD)
        if status != 200 and name in await self.models():
            return  # an earlier request, whose response was lost, ended first
        if status == 500 and await self.healthy():  # how vLLM refuses an adapter, by any reason but a missing file
            raise EngineRefused(status, _message(text))
        _checked(status, text)

    async def _get(self, path: str) -> Any:
        return _checked(*await self._send("GET", path, None, SHORT))

    async def _complete(self, body: Mapping[str, Any], request_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = _checked(*await self._send("POST", "/v1/completions", body, GENERATE, request_id))
        match answer:
            case {"choices": [*choices]} if len(choices) == body.get("n", 1):
                _check_model(body, answer)
                for choice in choices:
                    _check_choice(choice)
                return answer
            case _:
                raise EngineUnreachable("the engine's response has no text, or not of each choice")

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        limits: aiohttp.ClientTimeout,
        request_id: str = "",
    ) -> tuple[int, str]:
        """Send a request once; return the response's status and text."""
        try:
            async with self._session.request(
                method, self._url + path, json=body, timeout=limits, headers=_headers(request_id)
            ) as reply:
                return reply.status, await reply.text()
        except _ERRORS as error:
            raise _unreachable(error) from error

    async def _repeated(self, attempt: Callable[[], Awaitable[T]], request_id: str = "") -> T:
        for pause in self._pauses:
            try:
                return await attempt()
            except EngineUnreachable as error:
                if not error.may_repeat:
                    raise
                _log_repetition(request_id, pause, error)
            await asyncio.sleep(pause)
        return await attempt()


_ERRORS = (OSError, aiohttp.ClientError, HttpProcessingError, UnicodeDecodeError)
"""Errors of transport; TimeoutError is an OSError, and a line of half a MiB is a HttpProcessingError."""


def _log_repetition(request_id: str, pause: float, error: EngineUnreachable) -> None:
    LOG.info("%sasking again in %.1f s: %s", f"request {request_id}: " if request_id else "", pause, error)


def _headers(request_id: str) -> dict[str, str]:
    return {REQUEST_ID: request_id} if request_id else {}


def _checked(status: int, text: str) -> Any:
    """Return a response's JSON, or its text; raises EngineUnreachable or EngineRefused by its status."""
    if status == 200:
        return _json(text) if text.startswith(("{", "[")) else text
    message = _message(text)
    if status >= 500 or status == 429:
        raise EngineUnreachable(f"the engine answered {status}: {message}")
    raise EngineRefused(status, message)


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise EngineUnreachable("the engine's response is not JSON") from error


def _event(body: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    event = _json(data)
    if not isinstance(event, dict) or "error" in event:
        raise EngineUnreachable(f"the engine ended the stream: {_message(data.decode(errors='replace'))}")
    _check_model(body, event)
    for choice in event.get("choices") or []:
        if choice.get("finish_reason") is not None:
            _check_ended(choice["finish_reason"])
    return event


def _check_model(body: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Raise EngineUnreachable for an answer by another model than `body` names: it must never be served."""
    if answer.get("model") != body["model"]:
        raise EngineUnreachable(
            f"the engine answered as '{answer.get('model')}' to a request for '{body['model']}'", may_repeat=False
        )


def _check_choice(choice: object) -> None:
    match choice:
        case {"text": str(), "finish_reason": ended}:
            _check_ended(ended)
        case _:
            raise EngineUnreachable("the engine's response has no text")


def _check_ended(reason: object) -> None:
    """Raise EngineUnreachable for an answer that the engine aborted: it must not pass for a whole one."""
    if reason not in WHOLE:
        raise EngineUnreachable(f"the engine ended the answer with '{reason}'")


def _message(text: str) -> str:
    """Return the error message of an OpenAI-shaped body, at most 300 characters."""
    try:
        body = json.loads(text)
        text = str(body.get("error", body).get("message", text))
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:300]


def _unreachable(error: Exception) -> EngineUnreachable:
    # After a timeout the engine may still be at work on the request.
    timed_out = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError)
    return EngineUnreachable(f"the engine does not answer ({type(error).__name__})", may_repeat=not timed_out)
