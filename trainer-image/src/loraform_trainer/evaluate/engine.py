"""The vLLM sidecar as evaluation uses it: token ids in, text or log-probabilities out."""

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
"""At a time, to one engine; who asks keeps fewer questions open."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=900)
SHORT = aiohttp.ClientTimeout(total=10)
TROUBLE = (aiohttp.ClientError, OSError)
T = TypeVar("T")


class RefusedError(StageError):
    """The engine understood the request and will not answer it."""


async def wait_until(healthy: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
    """Return once `healthy` answers True; raises TransientError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await healthy():
        if time.monotonic() >= deadline:
            raise TransientError(f"{what} was not ready after {seconds:.0f} s; look at its container's log")
        await asyncio.sleep(POLL_SECONDS)


async def post(session: aiohttp.ClientSession, url: str, body: dict[str, Any], what: str) -> Any:
    """Return the JSON (or text) that `url` answers; tries again where that can help.

    Raises RefusedError when the request is at fault, TransientError otherwise.
    """
    last = ""
    for attempt in range(TRIES):
        try:
            async with session.post(url, json=body) as reply:
                if reply.status == 200:
                    return await (reply.json() if reply.content_type == "application/json" else reply.text())
                last = f"{what} answered {reply.status}: {(await reply.text())[:300]}"
                if reply.status < 500:
                    raise RefusedError(last)
        except TROUBLE as error:
            last = f"{what} did not answer: {type(error).__name__}"
        await asyncio.sleep(attempt * POLL_SECONDS)
    raise TransientError(last)


async def together(questions: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Return all results in order; the first failure stops the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


@dataclass(frozen=True)
class Generated:
    text: str
    truncated: bool
    """The answer has no end of its own: it reached the token limit."""
    tokens: int = 0
    """Of prompt and answer together."""


@asynccontextmanager
async def connect(url: str, wait_seconds: float) -> AsyncIterator[Engine]:
    """Yield the engine once it answers; raises TransientError when it does not within `wait_seconds`."""
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        engine = Engine(session, url)
        await wait_until(engine.healthy, "the engine", wait_seconds)
        yield engine


class Engine:
    """One engine with the base model and any number of loaded adapters."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def healthy(self) -> bool:
        """Say whether the engine answers requests."""
        try:
            async with self._session.get(f"{self._url}/health", timeout=SHORT) as reply:
                return reply.status == 200
        except TROUBLE:
            return False

    async def max_length(self) -> int:
        """Return the longest sequence in tokens, prompt and answer together."""
        async with self._session.get(f"{self._url}/v1/models") as reply:
            models = (await reply.json())["data"]
        return int(models[0]["max_model_len"])

    async def load(self, name: str, folder: Path) -> None:
        """Load the adapter in `folder`; raises AdapterNotServableError with the engine's reason."""
        try:
            body = {"lora_name": name, "lora_path": str(folder)}
            await post(
                self._session, f"{self._url}/v1/load_lora_adapter", body, "the engine, asked to load the adapter,"
            )
        except RefusedError as error:
            raise AdapterNotServableError(error.message) from error

    async def parity(self, name: str, file: ParityFile) -> ParityResult:
        """Compare what the engine serves as `name` with what the trainer measured."""
        found = [await asyncio.gather(*map(self._logprob, requests(row, name))) for row in file.rows]
        return compare(file, found)

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
    ) -> Generated:
        """Return an answer, which ends at a token of `stops`; the greedy one at temperature 0.

        Every sampling value is said: no default of the engine decides.
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
        return Generated(choice["text"], truncated, len(prompt) + int(answer["usage"]["completion_tokens"]))
