"""Acquires the Lease, renews it, and says for how long this process may still write.

`kubernetes.aio.leaderelection` is not used: it goes by the wall clock, which may be set; it has no deadline for a
request that hangs, so a holder can go on past its lease; and it never releases the lease.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from loraform_operator.kube import errors
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.objects import Object, api_version
from loraform_operator.leadership.lease import Action, Record, Seen, Terms, decide, held_by, observe, released

log = logging.getLogger(__name__)
LEASE = "Lease"


def seconds_since_boot() -> float:
    """Return the clock of leases: nobody can set it, and it counts the time in which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Elector:
    """One process's part in the election; `cluster` serves it alone and is not bound to the lease."""

    def __init__(
        self,
        cluster: Cluster,
        lease: tuple[str, str],
        identity: str,
        terms: Terms,
        *,
        wall: Callable[[], datetime],
        clock: Callable[[], float] = seconds_since_boot,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.identity = identity
        self.namespace, self.name = lease
        self._cluster = cluster
        self._terms = terms
        self._wall = wall
        self._clock = clock
        self._sleep = sleep
        self.lease: Object | None = None
        """The Lease as last read or written."""
        self._outdated = True
        self._seen = Seen(Record(), clock())
        self._renewed_at: float | None = None

    def seconds_left(self) -> float:
        """Return for how many seconds this process may still write; 0 when it does not hold the lease.

        They count from the time before the last renewal was sent: nobody can have seen it earlier.
        """
        if self._renewed_at is None:
            return 0.0
        return max(0.0, self._renewed_at + self._terms.renew_deadline - self._clock())

    def stands_by(self) -> bool:
        """Say whether another process was seen to hold the lease."""
        return self._seen.record.holder not in ("", self.identity)

    async def acquire(self) -> None:
        """Return when this process holds the lease."""
        while not self.seconds_left():
            await self._try(self._terms.renew_deadline)
            if not self.seconds_left():
                await self._sleep(self._terms.retry * random.uniform(1.0, 1.2))  # noqa: S311 (candidates fall apart)
        log.info("%s leads: it holds the lease %s/%s", self.identity, self.namespace, self.name)

    async def hold(self) -> None:
        """Renew the lease; return when it is lost, or could not be renewed in time."""
        while left := self.seconds_left():
            await self._sleep(min(self._terms.retry, left))
            await self._try(min(self._terms.renew_deadline / 2, self.seconds_left()))
        log.error("%s leads no more: the lease %s/%s is lost", self.identity, self.namespace, self.name)

    async def release(self) -> None:
        """Give the lease up, so that another process leads at once; does nothing when it is not held."""
        held, self._renewed_at = self.seconds_left(), None
        if held:
            record = released(self._seen.record, self._wall())
            await self._bounded(self._write(record), min(self._terms.retry, held))

    async def _try(self, seconds: float) -> None:
        """Look at the lease and act, for at most so many seconds; a failure is logged and tried again later."""
        await self._bounded(self._step(), seconds)

    async def _bounded(self, step: Awaitable[object], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await step
        except (errors.ClusterError, TimeoutError) as error:
            self._outdated = True  # the write may have been applied, or another's came first
            text = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            log.log(logging.DEBUG if isinstance(error, errors.Conflict) else logging.WARNING, "the lease: %s", text)

    async def _step(self) -> None:
        if self._outdated or self._renewed_at is None:  # else the version of the last renewal is still the newest
            await self._read()
        if decide(self.identity, self._seen, self._clock()) is Action.WAIT:
            self._renewed_at = None
            return
        sent = self._clock()
        await self._write(held_by(self.identity, self._terms, self._seen.record, self._wall()))
        self._renewed_at = sent

    async def _read(self) -> None:
        self.lease = await self._cluster.get(LEASE, self.namespace, self.name)
        self._seen = observe(self._seen, Record.read(self.lease) if self.lease else None, self._clock())
        self._outdated = False

    async def _write(self, record: Record) -> None:
        """Create the lease, or update the version that was read."""
        meta = {"name": self.name, "namespace": self.namespace}
        lease = {"apiVersion": api_version(LEASE), "kind": LEASE, "metadata": meta, "spec": record.spec()}
        self.lease = await self._cluster.apply(lease, self.lease)  # not POST: RBAC knows the name of an apply
        self._seen = Seen(record, self._clock())
