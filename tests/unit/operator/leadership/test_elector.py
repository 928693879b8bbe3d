"""Electors that share a lease in memory, each with a clock that the test moves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from loraform_operator.kube import errors
from loraform_operator.leadership.elector import Elector
from loraform_operator.leadership.lease import SHORTEST_SECONDS, Terms

WALL = datetime(2026, 11, 24, tzinfo=UTC)


class MemoryLease:
    """A Lease with the API server's rules, as the client of one elector sees it."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.version = 100
        self.error: Exception | None = None
        self.hangs = False
        self.loses_response = False
        self.reads = self.writes = 0

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        self.reads += 1
        await self._transport()
        return self.stored

    async def apply(self, lease: dict[str, Any], observed: dict[str, Any] | None) -> dict[str, Any]:
        self.writes += 1
        await self._transport()
        if observed != self.stored:
            raise errors.Conflict("the object has been modified", 409)
        self.version += 1
        self.stored = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self.version)}}
        if self.loses_response:
            self.loses_response = False
            raise errors.ClusterError("connection reset")
        return self.stored

    async def _transport(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    @property
    def holder(self) -> str:
        return str(self.stored["spec"]["holderIdentity"]) if self.stored else ""


class Time:
    """A clock; each sleep moves it, and calls the next of `meanwhile`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.meanwhile: list[Any] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()
        await asyncio.sleep(0)


def elector(lease: MemoryLease, time: Time, identity: str, duration: int = 15) -> Elector:
    return Elector(
        lease,  # type: ignore[arg-type]
        ("ns", "loraform-operator"),
        identity,
        Terms(duration),
        wall=lambda: WALL,
        clock=time.clock,
        sleep=time.sleep,
    )


async def test_the_first_takes_the_lease_and_the_second_stands_by() -> None:
    lease, time = MemoryLease(), Time()
    first, second = elector(lease, time, "a"), elector(lease, time, "b")
    await first.acquire()
    assert first.seconds_left() == 10.0
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(0)
    assert second.seconds_left() == 0.0
    assert (first.stands_by(), second.stands_by()) == (False, True)
    waiting.cancel()


async def test_a_lease_that_nobody_renews_is_taken_after_its_duration() -> None:
    lease, time = MemoryLease(), Time()
    await elector(lease, time, "a").acquire()
    seen_at = time.now
    await elector(lease, time, "b").acquire()
    assert lease.holder == "b"
    assert 15.0 <= time.now - seen_at <= 15.0 + 2 * 2.4


async def test_the_old_holder_stops_before_the_next_one_starts() -> None:
    lease, time = MemoryLease(), Time()
    first, second = elector(lease, time, "a"), elector(lease, time, "b")
    await first.acquire()
    await second.acquire()  # the clock went on, the first holder did nothing: it was frozen
    assert first.seconds_left() == 0.0
    await first.hold()
    assert lease.holder == "b"


async def test_a_renewal_needs_one_request_and_a_lost_response_does_not_cost_the_lease() -> None:
    lease, time = MemoryLease(), Time()
    first = elector(lease, time, "a")
    await first.acquire()
    reads = lease.reads

    def lose() -> None:
        lease.loses_response = True

    def away() -> None:
        lease.error = errors.ClusterError("away")

    time.meanwhile = [lambda: None, lose, lambda: None, lambda: None, away]
    await first.hold()
    assert lease.reads - reads >= 1
    assert lease.writes >= 5
    assert time.now - 1000.0 == pytest.approx(4 * 2.0 + 10.0), "it held on until ten seconds after the last renewal"


async def test_a_hung_request_ends_before_another_may_take_the_lease() -> None:
    lease, loop = MemoryLease(), asyncio.get_running_loop()
    terms, wall = Terms(SHORTEST_SECONDS), WALL
    first = Elector(lease, ("ns", "l"), "a", terms, wall=lambda: wall, clock=loop.time)  # type: ignore[arg-type]
    await first.acquire()
    acquired, lease.hangs = loop.time(), True
    await first.hold()
    assert terms.renew_deadline - 0.1 <= loop.time() - acquired < terms.duration
    assert first.seconds_left() == 0.0


async def test_a_renewal_counts_from_before_it_was_sent() -> None:
    lease, time = MemoryLease(), Time()
    first = elector(lease, time, "a")
    answer = lease.apply

    async def slow(body: dict[str, Any], observed: dict[str, Any] | None) -> dict[str, Any]:
        time.now += 4
        return await answer(body, observed)

    lease.apply = slow  # type: ignore[method-assign]
    await first.acquire()
    assert first.seconds_left() == 6.0


async def test_an_acquisition_that_was_answered_too_late_does_not_lead() -> None:
    """The process was frozen while it took the lease: it renews first."""
    lease, time = MemoryLease(), Time()
    first = elector(lease, time, "a")
    answer = lease.apply

    async def frozen(body: dict[str, Any], observed: dict[str, Any] | None) -> dict[str, Any]:
        time.now += 60 if lease.writes == 0 else 0
        return await answer(body, observed)

    lease.apply = frozen  # type: ignore[method-assign]
    await first.acquire()
    assert lease.writes == 2
    assert first.seconds_left() == 10.0


async def test_a_released_lease_is_taken_at_the_next_look() -> None:
    lease, time = MemoryLease(), Time()
    first = elector(lease, time, "a")
    await first.acquire()
    await first.release()
    assert (lease.holder, first.seconds_left()) == ("", 0.0)
    before = time.now
    await elector(lease, time, "b").acquire()
    assert (lease.holder, time.now) == ("b", before)


async def test_who_does_not_lead_releases_nothing() -> None:
    lease, time = MemoryLease(), Time()
    await elector(lease, time, "a").acquire()
    await elector(lease, time, "b").release()
    assert lease.holder == "a"


async def test_of_two_that_take_it_at_once_one_leads() -> None:
    lease, time = MemoryLease(), Time()
    first, second = elector(lease, time, "a"), elector(lease, time, "b")
    waiting = [asyncio.create_task(first.acquire()), asyncio.create_task(second.acquire())]
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert {first.seconds_left() > 0, second.seconds_left() > 0} == {True, False}
    for task in pending:
        task.cancel()
    assert len(done) == 1
