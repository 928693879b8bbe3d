from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from loraform_api.names import Kind
from loraform_operator.context import Key
from loraform_operator.kube import errors
from loraform_operator.metrics import QueueMetrics
from loraform_operator.queue import GONE, LONGEST_RETRY, PASSES, Lane, Queue, backoff, next_lane

A, B = (Key(Kind.FINE_TUNE_JOB, "ns", name) for name in "ab")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """Work that records its keys, and returns or raises the next of `results`."""

    def __init__(self) -> None:
        self.seen: list[Key] = []
        self.results: list[float | Exception | None] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.running = self.most = 0

    async def __call__(self, key: Key) -> float | None:
        self.seen.append(key)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.hold.wait()
        self.running -= 1
        result = self.results.pop(0) if self.results else None
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker() -> Worker:
    return Worker()


@asynccontextmanager
async def running(worker: Worker, clock: Clock, concurrency: int = 4) -> AsyncIterator[Queue]:
    work: Callable[[Key], Awaitable[float | None]] = worker
    metrics = QueueMetrics(CollectorRegistry())
    queue = Queue(work, metrics, concurrency=concurrency, resync=600, clock=clock)
    task = asyncio.create_task(queue.run())
    yield queue
    queue.stop()
    worker.hold.set()
    await asyncio.wait_for(task, 5)


async def settle() -> None:
    """Run everything that is due: a fixed number of loop turns, without waiting."""
    for _ in range(50):
        await asyncio.sleep(0)


async def at(queue: Queue, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    queue._changed.set()  # the clock is a fake: no timer ends the pause of the loop
    await settle()


async def test_wakes_of_a_queued_key_are_merged(worker: Worker, clock: Clock) -> None:
    async with running(worker, clock) as queue:
        for _ in range(5):
            queue.wake(A)
        await settle()
        assert worker.seen == [A]


async def test_a_key_woken_while_running_runs_once_more_afterwards(worker: Worker, clock: Clock) -> None:
    async with running(worker, clock) as queue:
        worker.hold.clear()
        queue.wake(A)
        await settle()
        queue.wake(A)
        queue.wake(A)
        await settle()
        assert worker.seen == [A]
        worker.hold.set()
        await settle()
        assert (worker.seen, worker.most) == ([A, A], 1)


async def test_concurrency_is_bounded(worker: Worker, clock: Clock) -> None:
    async with running(worker, clock, concurrency=1) as queue:
        worker.hold.clear()
        queue.wake(A)
        queue.wake(B)
        await settle()
        assert worker.seen == [A]
        worker.hold.set()
        await settle()
        assert (worker.seen, worker.most) == ([A, B], 1)


async def test_a_failed_key_is_retried_with_backoff(worker: Worker, clock: Clock) -> None:
    worker.results = [errors.ClusterError("down"), RuntimeError("bug"), None]
    async with running(worker, clock) as queue:
        queue.wake(A)
        await settle()
        await at(queue, clock, 0.5)
        assert len(worker.seen) == 1
        await at(queue, clock, 0.6)
        assert len(worker.seen) == 2
        await at(queue, clock, 1.1)
        assert len(worker.seen) == 2
        await at(queue, clock, 1.0)
        assert len(worker.seen) == 3


async def test_pauses_of_waiting_requeue_and_resync(worker: Worker, clock: Clock) -> None:
    worker.results = [errors.Waiting("claim", 10), 20.0, None, GONE]
    async with running(worker, clock) as queue:
        queue.wake(A)
        await settle()
        for count, pause in enumerate((10, 20, 600, 100_000), start=1):
            assert len(worker.seen) == count
            await at(queue, clock, pause + 0.1)
        assert len(worker.seen) == 4, "a key that is gone has no resync"


async def test_a_wake_replaces_the_resync(worker: Worker, clock: Clock) -> None:
    async with running(worker, clock) as queue:
        queue.wake(A)
        await settle()
        await at(queue, clock, 500)
        queue.wake(A)
        await settle()
        await at(queue, clock, 150)  # the first resync would have been due by now
        assert len(worker.seen) == 2


@pytest.mark.parametrize(
    ("moving", "waiting", "passed", "lane"),
    [
        (1, 0, 0, Lane.MOVING),
        (1, 0, PASSES, Lane.MOVING),
        (0, 1, 0, Lane.WAITING),
        (1, 300, PASSES - 1, Lane.MOVING),
        (300, 1, PASSES, Lane.WAITING),
    ],
)
def test_keys_in_motion_pass_the_others_so_many_times(moving: int, waiting: int, passed: int, lane: Lane) -> None:
    assert next_lane(moving, waiting, passed) is lane


def keys(prefix: str, count: int) -> list[Key]:
    return [Key(Kind.FINE_TUNE_JOB, "ns", f"{prefix}{number}") for number in range(count)]


async def test_keys_in_motion_go_first_and_the_others_have_their_turn(worker: Worker, clock: Clock) -> None:
    moving, waiting = keys("moving", 2 * PASSES), keys("waiting", 3)
    async with running(worker, clock, concurrency=1) as queue:
        for key in waiting:
            queue.wake(key, Lane.WAITING)
        for key in moving:
            queue.wake(key)
        for _ in range(4):
            await settle()
        turn = [*moving[:PASSES], waiting[0], *moving[PASSES:], waiting[1], waiting[2]]
        assert worker.seen == turn


async def test_a_waiting_key_that_moves_changes_its_lane(worker: Worker, clock: Clock) -> None:
    first, second = keys("waiting", 2)
    async with running(worker, clock, concurrency=1) as queue:
        queue.wake(first, Lane.WAITING)
        queue.wake(second, Lane.WAITING)
        queue.wake(second)
        queue.wake(second, Lane.WAITING)
        await settle()
        assert worker.seen == [second, first]


@pytest.mark.parametrize(
    ("result", "first"), [(errors.Waiting("a claim", 10), B), (errors.ClusterError("down"), B), (None, B), (10.0, A)]
)
async def test_what_a_key_was_left_with_decides_its_lane(
    worker: Worker, clock: Clock, result: float | Exception | None, first: Key
) -> None:
    """A is due before B, whose work asked for its time; A only goes first when it asked as well."""
    worker.results = [result, 10.0]
    async with running(worker, clock, concurrency=1) as queue:
        queue.wake(A)
        await settle()
        clock.now += 0.1
        queue.wake(B)
        await settle()
        await at(queue, clock, 599)
        assert worker.seen == [A, B, first, A if first is B else B]


def test_backoff_grows_up_to_its_limit() -> None:
    assert 0.8 <= backoff(1) <= 1
    assert 6.4 <= backoff(4) <= 8
    assert 0.8 * LONGEST_RETRY <= backoff(50) <= LONGEST_RETRY


async def test_a_scrape_reports_running_work(worker: Worker, clock: Clock) -> None:
    registry = CollectorRegistry()
    queue = Queue(worker, QueueMetrics(registry), concurrency=4, resync=600, clock=clock)
    task = asyncio.create_task(queue.run())
    worker.hold.clear()
    queue.wake(A)
    await settle()
    clock.now += 7
    labels = {"name": "loraform"}
    assert registry.get_sample_value("workqueue_unfinished_work_seconds", labels) == 7
    assert registry.get_sample_value("workqueue_longest_running_processor_seconds", labels) == 7
    queue.stop()
    worker.hold.set()
    await asyncio.wait_for(task, 5)
