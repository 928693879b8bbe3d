"""The work queue: level-triggered, coalescing, one worker per key, backoff with jitter, resync, two lanes.

A key names an object and no event, so a lost or duplicate wake changes only when it is reconciled. Keys in motion (an
event, or a time that the work itself asked for) pass those that are only looked at again.
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
from enum import IntEnum

from loraform_operator.context import Key
from loraform_operator.kube import errors
from loraform_operator.logs import current_key
from loraform_operator.metrics import QueueMetrics

log = logging.getLogger(__name__)

GONE = math.inf
"""Returned by the work when its object no longer exists: no resync."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 600.0
"""Seconds before the first retry of a failed key, and at most before a later one."""
PASSES = 8
"""So many keys in motion may pass the oldest one that is not."""


class Lane(IntEnum):
    """Where a key waits for a worker."""

    MOVING = 0
    """Something has happened to the object, or is due."""
    WAITING = 1
    """The object is only looked at again: a poll, a retry, a resync, the first look of a new process."""


Work = Callable[[Key], Awaitable[float | None]]
"""Reconciles a key; returns the seconds until the next time, None for the usual resync, `GONE` for never.

Raises `errors.Waiting` for an object that only waits.
"""


def next_lane(moving: int, waiting: int, passed: int) -> Lane:
    """Return the lane of the next key, given the length of both, and how many in a row have passed the waiting one."""
    return Lane.WAITING if waiting and (not moving or passed >= PASSES) else Lane.MOVING


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
        # time of the wake; a dict keeps order and drops duplicates
        self._ready: dict[Lane, dict[Key, float]] = {lane: {} for lane in Lane}
        self._passed = 0
        self._running: dict[Key, float] = {}
        self._again: set[Key] = set()  # woken while running
        self._later: list[tuple[float, Lane, Key]] = []
        self._due: dict[Key, float] = {}  # the valid entry of `_later` of each key
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._stopping = False
        metrics.observe_running(self.unfinished)

    def wake(self, key: Key, lane: Lane = Lane.MOVING) -> None:
        """Queue `key`; it runs at once if a worker is free. One that moves leaves the other lane."""
        moving, waiting = self._ready[Lane.MOVING], self._ready[Lane.WAITING]
        if key in self._running:
            self._again.add(key)
        elif key in waiting and lane is Lane.MOVING:
            moving[key] = waiting.pop(key)
        elif key not in moving and key not in waiting:
            self._due.pop(key, None)
            self._ready[lane][key] = self._clock()
            self._metrics.added(self._depth())
        self._changed.set()

    async def run(self) -> None:
        """Work until `stop`, then finish the running keys."""
        async with asyncio.TaskGroup() as tasks:
            while not self._stopping:
                self._promote()
                while self._depth() and len(self._running) < self._concurrency:
                    key, woken = self._next()
                    self._running[key] = self._clock()
                    self._metrics.started(self._depth(), self._clock() - woken)
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

    def _depth(self) -> int:
        return sum(map(len, self._ready.values()))

    def _next(self) -> tuple[Key, float]:
        """Take the next key, with the time of its wake."""
        moving, waiting = self._ready[Lane.MOVING], self._ready[Lane.WAITING]
        lane = next_lane(len(moving), len(waiting), self._passed)
        self._passed = self._passed + 1 if lane is Lane.MOVING and waiting else 0
        key = next(iter(self._ready[lane]))
        return key, self._ready[lane].pop(key)

    def _promote(self) -> None:
        """Wake the keys that are due."""
        while self._later and self._later[0][0] <= self._clock():
            due, lane, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.wake(key, lane)

    def _pause(self) -> float | None:
        return max(0.0, self._later[0][0] - self._clock()) if self._later else None

    async def _process(self, key: Key) -> None:
        token = current_key.set(key)
        started = self._running[key]
        result, pause, lane = "success", self._resync, Lane.WAITING
        try:
            requested = await self._work(key)
            pause = min(self._resync * random.uniform(0.9, 1.0), math.inf if requested is None else requested)  # noqa: S311
            pause = GONE if requested == GONE else pause
            if requested not in (None, GONE):
                result, lane = "requeue_after", Lane.MOVING
            self._failures.pop(key, None)
        except errors.Waiting as wait:
            result, pause = "requeue_after", wait.after
            log.debug("waiting %.0f s: %s", wait.after, wait)
        except errors.Conflict as conflict:
            result, pause, lane = "requeue", self._failed(key), Lane.MOVING
            log.debug("the object changed, retrying in %.1f s: %s", pause, conflict)
        except Exception as error:
            result, pause = "error", self._failed(key)
            expected = isinstance(error, errors.ClusterError)
            log.warning("failed, retrying in %.1f s: %s: %s", pause, type(error).__name__, error, exc_info=not expected)
        finally:
            current_key.reset(token)
            del self._running[key]
        self._metrics.finished(key.kind, result, self._clock() - started)
        self._schedule(key, pause, lane)

    def _failed(self, key: Key) -> float:
        self._failures[key] = self._failures.get(key, 0) + 1
        self._metrics.retried()
        return backoff(self._failures[key])

    def _schedule(self, key: Key, pause: float, lane: Lane) -> None:
        if key in self._again:
            self._again.discard(key)
            self.wake(key)
        elif pause != GONE:
            due = self._clock() + pause
            self._due[key] = due
            heapq.heappush(self._later, (due, lane, key))
        self._changed.set()
