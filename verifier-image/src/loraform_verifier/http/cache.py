"""Verdicts that are known: kept for equal programs of the same caller, and shared while they are made.

A key covers everything that decides a verdict: the program with its files and prompt, stages, policy and packs. The
toolchain and the verifier's own packs are fixed for the life of the process. It also has the caller, so that neither
a verdict nor the time that it takes tells one caller what another has asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from loraform_api.verification import ProgramVerdict, Toolchain, VerifyRequest, VerifyResponse
from loraform_verifier.http.merging import is_shareable
from loraform_verifier.http.queue import Queue

MAX_BYTES = 32 * 1024 * 1024
ENTRY_BYTES = 500
"""Bytes of an entry beside its verdict, about."""


def key_of(request: VerifyRequest) -> bytes:
    """Return the digest of all that decides the verdict of a request's program, and of who asks."""
    text = request.model_dump_json(exclude={"within": True, "programs": {"__all__": {"id"}}})
    return hashlib.sha256(text.encode()).digest()


def is_lasting(request: VerifyRequest, verdict: ProgramVerdict) -> bool:
    """Return whether a verdict would be the same again. An inconclusive one may come from the machine's state."""
    return verdict.decided is not None and not (request.judge_raw and verdict.raw_passed is None)


class VerdictCache:
    """The verdicts that were used last, within a bound of bytes."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._verdicts: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, key: bytes) -> ProgramVerdict | None:
        """Return the verdict of a key."""
        text = self._verdicts.get(key)
        if text is None:
            return None
        self._verdicts.move_to_end(key)
        return ProgramVerdict.model_validate_json(text)

    def put(self, key: bytes, verdict: ProgramVerdict) -> None:
        """Keep a verdict, and drop those that were not used for longest."""
        self._drop(key)
        self._verdicts[key] = verdict.model_dump_json().encode()
        self._bytes += _size(self._verdicts[key])
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._verdicts)))

    def _drop(self, key: bytes) -> None:
        text = self._verdicts.pop(key, None)
        self._bytes -= 0 if text is None else _size(text)


@dataclass(eq=False, slots=True)
class _Flight:
    """A request that is in the queue, and how many wait for it."""

    task: asyncio.Task[VerifyResponse]
    waiting: int = 0


class CachingQueue:
    """A queue whose verdicts are kept."""

    def __init__(
        self, queue: Queue, toolchain: Toolchain, cache: VerdictCache, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue, self._toolchain, self._cache, self._clock = queue, toolchain, cache, clock
        self._flights: dict[bytes, _Flight] = {}

    async def submit(self, request: VerifyRequest) -> VerifyResponse:
        """Return the response from the cache or as `Queue.submit`."""
        if not is_shareable(request):
            return await self._queue.submit(request)
        began, key = self._clock(), key_of(request)
        verdict = self._cache.get(key)
        if verdict is None:
            verdict = (await self._in_flight(key, request)).verdicts[0]
            if is_lasting(request, verdict):
                self._cache.put(key, verdict)
        seconds = round(self._clock() - began, 3)
        own = verdict.model_copy(update={"id": request.programs[0].id, "seconds": seconds})
        return VerifyResponse(verdicts=[own], seconds=seconds, toolchain=self._toolchain)

    async def _in_flight(self, key: bytes, request: VerifyRequest) -> VerifyResponse:
        """Wait for an equal request that is in the queue, or for this one; the last to leave takes it out."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._queue.submit(request)))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()
                if self._flights.get(key) is flight:
                    del self._flights[key]


def _size(text: bytes) -> int:
    return len(text) + ENTRY_BYTES
