"""The work queue: level-triggered, coalescing, one worker per key, backoff with jitter, resync.

A key names an object and no event, so a lost or duplicate wake changes only when it is reconciled.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from loraform_operator.context import Key
from loraform_operator.kube import errors
from loraform_operator.logs import current_key
from loraform_operator.metrics import QueueMetrics

log = logging.getLogger(__name__)

GONE = math.inf
"""Returned by the work when its object no longer exists: no resync."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 600.0
"""Seconds before the first retry of a failed key, and at most before a later one."""

Work = Callable[[Key], Awaitable[float | None]]
"""Reconciles a key; returns the seconds until the next time, None for the usual resync, `GONE` for never."""


def backoff(failures: int) -> float:
    """Return the seconds to wait after this many failures in a row, with up to 20 % of jitter."""
    return min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** (failures - 1)) * random.uniform(0.8, 1.0)  # noqa: S311 (jitter)


class Queue:
    """Runs the work for woken keys, at most `concurrency` at a time; `resync` is in seconds."""

    def __init__(
        self,
        work: Work,
        metrics: QueueMetrics,
        *,
        concurrency: int,
        resync: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._metrics = metrics
        self._concurrency = concurrency
        self._resync = resync
        self._clock = clock
        self._ready: dict[Key, float] = {}  # time of the wake; a dict keeps order and drops duplicates
        self._running: dict[Key, float] = {}
        self._again: set[Key] = set()  # woken while running
        self._later: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}  # the valid entry of `_later` of each key
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._stopping = False
        metrics.observe_running(self.unfinished)

    def wake(self, key: Key) -> None:
        """Queue `key`; it runs at once if a worker is free."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._ready:
            self._due.pop(key, None)
            self._ready[key] = self._clock()
            self._metrics.added(len(self._ready))
        self._changed.set()

    async def run(self) -> None:
        """Work until `stop`, then finish the running keys."""
        async with asyncio.TaskGroup() as tasks:
            while not self._stopping:
                self._promote()
                while self._ready and len(self._running) < self._concurrency:
                    key, woken = next(iter(self._ready.items()))
                    del self._ready[key]
                    self._running[key] = self._clock()
                    self._metrics.started(len(self._ready), self._clock() - woken)
                    tasks.create_task(self._process(key), name=str(key))
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._pause())

    def stop(self) -> None:
        """Start no further work."""
        self._stopping = True
        self._changed.set()

    def unfinished(self) -> list[float]:
        """Return the seconds that each running key has taken so far."""
        return [self._clock() - started for started in self._running.values()]

    def _promote(self) -> None:
        """Wake the keys that are due."""
        while self._later and self._later[0][0] <= self._clock():
            due, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.wake(key)

    def _pause(self) -> float | None:
        return max(0.0, self._later[0][0] - self._clock()) if self._later else None

    async def _process(self, key: Key) -> None:
        token = current_key.set(key)
        started = self._running[key]
        result, pause = "success", self._resync
        try:
            requested = await self._work(key)
            pause = min(self._resync * random.uniform(0.9, 1.0), math.inf if requested is None else requested)  # noqa: S311
            pause = GONE if requested == GONE else pause
            result = "requeue_after" if requested not in (None, GONE) else "success"
            self._failures.pop(key, None)
        except errors.Waiting as wait:
            result, pause = "requeue_after", wait.after
            log.debug("waiting %.0f s: %s", wait.after, wait)
        except errors.Conflict as conflict:
            result, pause = "requeue", self._failed(key)
            log.debug("the object changed, retrying in %.1f s: %s", pause, conflict)
        except Exception as error:
            result, pause = "error", self._failed(key)
            expected = isinstance(error, errors.ClusterError)
            log.warning("failed, retrying in %.1f s: %s: %s", pause, type(error).__name__, error, exc_info=not expected)
        finally:
            current_key.reset(token)
            del self._running[key]
        self._metrics.finished(key.kind, result, self._clock() - started)
        self._schedule(key, pause)

    def _failed(self, key: Key) -> float:
        self._failures[key] = self._failures.get(key, 0) + 1
        self._metrics.retried()
        return backoff(self._failures[key])

    def _schedule(self, key: Key, pause: float) -> None:
        if key in self._again:
            self._again.discard(key)
            self.wake(key)
        elif pause != GONE:
            due = self._clock() + pause
            self._due[key] = due
            heapq.heappush(self._later, (due, key))
        self._changed.set()
