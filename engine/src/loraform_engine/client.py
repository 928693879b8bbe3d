"""Client of vLLM's HTTP API, as far as gateway and agent use it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

SHORT = aiohttp.ClientTimeout(total=10, sock_connect=3)
LOAD = aiohttp.ClientTimeout(total=120, sock_connect=3)
GENERATE = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=600)
EVENT_LIMIT = 1 << 20


class EngineUnreachable(Exception):  # noqa: N818 (the cause is the name)
    """The engine gave no usable response: it starts, restarts or is gone."""


class EngineRefused(Exception):  # noqa: N818
    """The engine refused the request; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """A client of one engine, or of an agent in front of it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url.rstrip("/")

    async def models(self) -> dict[str, dict[str, Any]]:
        """Return the served models by name: the base and each loaded adapter."""
        try:
            async with self._session.get(f"{self._url}/v1/models", timeout=SHORT) as reply:
                data = (await _checked(reply))["data"]
                return {entry["id"]: entry for entry in data}
        except (KeyError, TypeError) as error:
            raise EngineUnreachable("the engine's list of models is malformed") from error
        except _ERRORS as error:
            raise _unreachable(error) from error

    async def load(self, name: str, path: str) -> None:
        """Load the adapter in folder `path` under `name`."""
        await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, LOAD)

    async def unload(self, name: str) -> None:
        await self._post("/v1/unload_lora_adapter", {"lora_name": name}, SHORT)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a completion request."""
        answer = await self._post("/v1/completions", body, GENERATE)
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise EngineUnreachable("the engine's response has no `choices`")
        return answer

    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a streamed completion."""
        url, request = f"{self._url}/v1/completions", {**body, "stream": True}
        try:
            async with self._session.post(url, json=request, timeout=GENERATE) as reply:
                if reply.status != 200:
                    await _checked(reply)
                async for line in reply.content:
                    event = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
                    if event == b"[DONE]":
                        return
                    if event and len(event) <= EVENT_LIMIT:
                        yield json.loads(event)
        except _ERRORS as error:
            raise _unreachable(error) from error

    async def _post(self, path: str, body: Mapping[str, Any], limits: aiohttp.ClientTimeout) -> Any:
        try:
            async with self._session.post(self._url + path, json=body, timeout=limits) as reply:
                return await _checked(reply)
        except _ERRORS as error:
            raise _unreachable(error) from error


_ERRORS = (OSError, aiohttp.ClientError, json.JSONDecodeError, UnicodeDecodeError)
"""Errors of transport and body; TimeoutError is an OSError."""


async def _checked(reply: aiohttp.ClientResponse) -> Any:
    """Return the response's JSON, or its text; raises EngineUnreachable or EngineRefused by its status."""
    text = await reply.text()
    if reply.status == 200:
        return json.loads(text) if text.startswith(("{", "[")) else text
    message = _message(text)
    if reply.status >= 500 or reply.status == 429:
        raise EngineUnreachable(f"the engine answered {reply.status}: {message}")
    raise EngineRefused(reply.status, message)


def _message(text: str) -> str:
    """Return the error message of an OpenAI-shaped body, at most 300 characters."""
    try:
        body = json.loads(text)
        text = str(body.get("error", body).get("message", text))
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:300]


def _unreachable(error: Exception) -> EngineUnreachable:
    return EngineUnreachable(f"the engine does not answer ({type(error).__name__})")
