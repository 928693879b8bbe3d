"""Client of the vLLM sidecar: sends token ids, receives text or log-probabilities."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from loraform_engine.parity import ParityFile, ParityResult, compare, read_logprob, requests
from loraform_trainer.runtime.errors import AdapterNotServableError, StageError, TransientError

POLL_SECONDS = 1.0
TRIES = 3
CONNECTIONS = 64
"""Connection limit; callers keep fewer requests in flight."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=900)
HEALTH_TIMEOUT = aiohttp.ClientTimeout(total=10)
CONNECTION_ERRORS = (aiohttp.ClientError, OSError)
T = TypeVar("T")


class RefusedError(StageError):
    """The engine or verifier rejected the request (a status below 500)."""


async def wait_until(healthy: Callable[[], Awaitable[bool]], server: str, seconds: float) -> None:
    """Return once `healthy` returns True; raises TransientError that names `server` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await healthy():
        if time.monotonic() >= deadline:
            raise TransientError(f"{server} was not ready after {seconds:.0f} s; see its container's log")
        await asyncio.sleep(POLL_SECONDS)


async def post(session: aiohttp.ClientSession, url: str, body: dict[str, Any], server: str) -> Any:
    """Post `body` and return the response's JSON or text; retries connection errors and statuses of 500 and above.

    Raises RefusedError for other statuses, TransientError after the last attempt.
    """
    last = ""
    for attempt in range(TRIES):
        try:
            async with session.post(url, json=body) as reply:
                if reply.status == 200:
                    return await (reply.json() if reply.content_type == "application/json" else reply.text())
                last = f"{server} answered {reply.status}: {(await reply.text())[:300]}"
                if reply.status < 500:
                    raise RefusedError(last)
        except CONNECTION_ERRORS as error:
            last = f"{server} did not respond: {type(error).__name__}"
        await asyncio.sleep(attempt * POLL_SECONDS)
    raise TransientError(last)


async def run_concurrently(coroutines: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Return all results in order; the first failure cancels the others and is raised unchanged."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


@dataclass(frozen=True)
class GeneratedAnswer:
    """An answer of the engine."""

    text: str
    truncated: bool
    """True if the answer reached the token limit before an end of text."""
    tokens: int = 0
    """Tokens of prompt and answer together."""


@asynccontextmanager
async def connect(url: str, wait_seconds: float) -> AsyncIterator[Engine]:
    """Yield the engine once it is ready; raises TransientError if it is not within `wait_seconds`."""
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        engine = Engine(session, url)
        await wait_until(engine.healthy, "the engine", wait_seconds)
        yield engine


class Engine:
    """Client of one engine, which serves the base model and any number of loaded adapters."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def healthy(self) -> bool:
        """Return True if the engine responds to its health check."""
        try:
            async with self._session.get(f"{self._url}/health", timeout=HEALTH_TIMEOUT) as reply:
                return reply.status == 200
        except CONNECTION_ERRORS:
            return False

    async def max_length(self) -> int:
        """Return the maximum tokens of a sequence, prompt and answer together."""
        async with self._session.get(f"{self._url}/v1/models") as reply:
            models = (await reply.json())["data"]
        return int(models[0]["max_model_len"])

    async def load(self, name: str, folder: Path) -> None:
        """Load the adapter in `folder`; raises AdapterNotServableError with the engine's reason."""
        try:
            body = {"lora_name": name, "lora_path": str(folder)}
            await post(self._session, f"{self._url}/v1/load_lora_adapter", body, "the engine, loading the adapter,")
        except RefusedError as error:
            raise AdapterNotServableError(error.message) from error

    async def parity(self, name: str, file: ParityFile) -> ParityResult:
        """Compare the log-probabilities of the engine's model `name` with those that the trainer measured."""
        logprobs = [await asyncio.gather(*map(self._logprob, requests(row, name))) for row in file.rows]
        return compare(file, logprobs)

    async def _logprob(self, body: dict[str, Any]) -> float:
        answer = await post(self._session, f"{self._url}/v1/completions", body, "the engine")
        try:
            return read_logprob(body, answer)
        except ValueError as error:
            raise AdapterNotServableError(str(error)) from error

    async def generate(
        self,
        name: str,
        prompt: list[int],
        *,
        max_tokens: int,
        stops: Sequence[int],
        seed: int,
        temperature: float = 0.0,
    ) -> GeneratedAnswer:
        """Return an answer that ends at a token of `stops`; at temperature 0 it is the greedy one.

        The request sets every sampling parameter, so that the engine's defaults have no effect.
        """
        body = {
            "model": name,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": 1.0,
            "seed": seed,
            "stop_token_ids": list(stops),
            "skip_special_tokens": True,
        }
        answer = await post(self._session, f"{self._url}/v1/completions", body, "the engine")
        choice = answer["choices"][0]
        truncated = choice["finish_reason"] == "length"
        return GeneratedAnswer(choice["text"], truncated, len(prompt) + int(answer["usage"]["completion_tokens"]))
