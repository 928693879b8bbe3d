"""The queue of the service: one run of the verifier at a time, shared by those who wait.

Three lanes take turns. `FRESH` has the single programs of callers that wait: those that may share a run do. `APART` has
programs that a shared run left undecided, in smaller groups, down to single ones: one of them hangs, or needs a run of
its own. `LARGE` has all other requests; each gives way after each terraform batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

from loraform_api.verification import ProgramVerdict, VerifyRequest, VerifyResponse
from loraform_verifier.http.estimate import Outlook, retry_after, usual
from loraform_verifier.http.merging import (
    Share,
    first_batch,
    is_shareable,
    merged,
    needs_own_run,
    runs_until,
    share_of,
    slices,
)
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import WAYS, parts
from loraform_verifier.verify import Verifier

LOG = logging.getLogger(__name__)
QUIET_SECONDS = 0.03
"""A run begins when no request has come for so long: callers that were answered together ask again together."""
GATHER_SECONDS = 0.2
"""Longest wait for more requests before a run."""
REMEMBERED = 9
"""Recent runs of a lane from which the length of the next is estimated."""

T = TypeVar("T")


class TooLate(RuntimeError):  # noqa: N818 - a state of the queue
    """The request cannot be answered in its time; `retry_after` is in how many seconds to ask again."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Verifiers:
    """The same verifier with other time limits."""

    large: Verifier
    alone: Verifier
    """For a single program while others wait."""
    shared: Verifier
    """For programs of several callers: it leaves what needs runs of its own."""


class Lane(Enum):
    FRESH = auto()
    APART = auto()
    LARGE = auto()


@dataclass(eq=False, slots=True)
class Ticket:
    """A request in the queue."""

    request: VerifyRequest
    arrived: float
    result: asyncio.Future[VerifyResponse]
    share: Share
    rest: Iterator[VerifyRequest] = field(default_factory=lambda: iter(()))
    """Parts of a large request that have not run."""
    verdicts: list[ProgramVerdict] = field(default_factory=list)
    """Those of the parts that have run."""


@dataclass(eq=False, slots=True)
class Run:
    """One call of the verifier; `stop` ends it once all of its tickets are gone."""

    lane: Lane
    tickets: list[Ticket]
    request: VerifyRequest
    verifier: Verifier
    began: float
    stop: threading.Event = field(default_factory=threading.Event)


class Queue:
    """Runs requests; `run` must be running. For one event loop."""

    def __init__(
        self,
        verifiers: Verifiers,
        warm_up: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        """`warm_up` is called before the first run and after each: it prepares what the next one needs."""
        self.ready = False
        """True while it runs, once the first `warm_up` is over."""
        self._verifiers, self._warm_up, self._clock, self._quiet = verifiers, warm_up, clock, quiet
        self._fresh: list[Ticket] = []
        self._apart: deque[list[Ticket]] = deque()
        self._large: list[Ticket] = []
        self._turns = deque(Lane)
        self._new = asyncio.Event()
        self._run: Run | None = None
        self._recent: dict[Lane, deque[float]] = {lane: deque(maxlen=REMEMBERED) for lane in Lane}

    async def submit(self, request: VerifyRequest) -> VerifyResponse:
        """Return the response once the request has run; cancelling takes it out, and ends a run that nobody else needs.

        Raises TooLate, or what the verifier raises.
        """
        ticket = Ticket(request, self._clock(), asyncio.get_running_loop().create_future(), share_of(request))
        if is_shareable(request):
            self._check_time(ticket)
            self._fresh.append(ticket)
        else:
            ticket.rest = slices(request)
            self._large.append(ticket)
        self._new.set()
        try:
            return await ticket.result
        finally:
            self._remove(ticket)

    def retry_after(self, request: VerifyRequest) -> int:
        """Return the whole seconds after which a request is expected to be answered in its time."""
        seconds = self._expected_seconds(share_of(request))
        return retry_after(seconds, request.within or seconds)

    def _expected_seconds(self, share: Share) -> float:
        lengths = {lane: usual(recent) for lane, recent in self._recent.items()}
        runs = runs_until([*(ticket.share for ticket in self._fresh), share])
        ahead = [lengths[Lane.FRESH]] * (runs - 1) + [lengths[Lane.APART]] * min(runs, len(self._apart))
        ahead += [lengths[Lane.LARGE]] * (runs if self._large else 0)
        outlook = Outlook(ahead=ahead, own=lengths[Lane.FRESH])
        if self._run is not None:
            elapsed = self._clock() - self._run.began
            outlook = Outlook(lengths[self._run.lane], elapsed, ahead, lengths[Lane.FRESH])
        return outlook.seconds

    async def run(self) -> None:
        """Run what comes, until cancelled."""
        try:
            while True:
                await self._prepare()
                self._new.clear()
                await self._gather()
                self._run = self._next_run()
                if self._run is None:
                    await self._new.wait()
                    continue
                await self._judge(self._run)
                self._run = None
        finally:
            self.ready, self._run = False, None

    def _check_time(self, ticket: Ticket) -> None:
        seconds = self._expected_seconds(ticket.share)
        within = ticket.request.within or seconds
        if seconds > within:
            wait = retry_after(seconds, within)
            raise TooLate(f"the queue takes {seconds:.0f} s, asked within {within:g} s; ask again in {wait} s", wait)

    async def _prepare(self) -> None:
        try:
            await _in_thread(self._warm_up, threading.Event())
            self.ready = True
        except Exception:
            LOG.exception("the providers could not be prepared; the next run starts what it needs")

    async def _gather(self) -> None:
        until = self._clock() + GATHER_SECONDS
        while self._fresh and self._clock() < until:
            self._new.clear()
            try:
                async with asyncio.timeout(self._quiet):
                    await self._new.wait()
            except TimeoutError:
                return

    def _next_run(self) -> Run | None:
        for _ in Lane:
            lane = self._turns[0]
            self._turns.rotate(-1)
            if run := self._run_of(lane):
                return run
        return None

    def _run_of(self, lane: Lane) -> Run | None:
        if lane is Lane.LARGE:
            if not self._large:
                return None
            ticket = self._large[0]
            return Run(lane, [ticket], next(ticket.rest), self._verifiers.large, self._clock())
        tickets = self._take_fresh() if lane is Lane.FRESH else self._take_apart()
        if not tickets:
            return None
        verifier = self._verifiers.shared if len(tickets) > 1 else self._verifiers.alone
        return Run(lane, tickets, merged([ticket.request for ticket in tickets]), verifier, self._clock())

    def _take_fresh(self) -> list[Ticket]:
        chosen = first_batch([ticket.share for ticket in self._fresh])
        tickets = [self._fresh[index] for index in chosen]
        self._fresh = [ticket for ticket in self._fresh if ticket not in tickets]
        return tickets

    def _take_apart(self) -> list[Ticket]:
        """Take the oldest group with a ticket of the caller that has the fewest: who sends many waits for others."""
        if not self._apart:
            return []
        count = Counter(ticket.share.caller for group in self._apart for ticket in group)
        group = min(self._apart, key=lambda group: min(count[ticket.share.caller] for ticket in group))
        self._apart.remove(group)
        return group

    async def _judge(self, run: Run) -> None:
        try:
            response = await _in_thread(lambda: run.verifier.verify(run.request), run.stop)
        except isolation.Stopped:
            return
        except Exception as error:
            self._fail(run, error)
        else:
            self._deliver(run, response)
        self._recent[run.lane].append(self._clock() - run.began)

    def _fail(self, run: Run, error: Exception) -> None:
        """Blame nobody for what one of several programs may have caused; tell the caller of a single one."""
        if len(run.tickets) > 1:
            LOG.warning("a shared run of %d programs failed: %s", len(run.tickets), type(error).__name__)
            self._judge_apart(run.tickets)
            return
        for ticket in run.tickets:
            self._remove(ticket)
            if not ticket.result.done():
                ticket.result.set_exception(error)

    def _deliver(self, run: Run, response: VerifyResponse) -> None:
        if run.lane is Lane.LARGE:
            self._deliver_part(run.tickets, response)
            return
        apart = []
        for ticket, verdict in zip(run.tickets, response.verdicts, strict=True):
            if len(run.tickets) > 1 and needs_own_run(ticket.request, verdict):
                apart.append(ticket)
            elif not ticket.result.done():
                # The verifier's own figures would tell how many programs shared the run.
                seconds = round(self._clock() - ticket.arrived, 3)
                own = verdict.model_copy(update={"id": ticket.request.programs[0].id, "seconds": seconds})
                ticket.result.set_result(response.model_copy(update={"verdicts": [own], "seconds": seconds}))
        self._judge_apart(apart)

    def _deliver_part(self, tickets: list[Ticket], response: VerifyResponse) -> None:
        for ticket in tickets:
            ticket.verdicts += response.verdicts
            if len(ticket.verdicts) == len(ticket.request.programs):
                self._remove(ticket)
                if not ticket.result.done():
                    seconds = round(self._clock() - ticket.arrived, 3)
                    whole = response.model_copy(update={"verdicts": ticket.verdicts, "seconds": seconds})
                    ticket.result.set_result(whole)
            elif self._large[:1] == [ticket]:
                self._large.append(self._large.pop(0))

    def _judge_apart(self, tickets: list[Ticket]) -> None:
        waiting = [ticket for ticket in tickets if not ticket.result.done()]
        waiting.sort(key=lambda ticket: ticket.share.caller)
        self._apart.extend(parts(waiting, WAYS))

    def _remove(self, ticket: Ticket) -> None:
        self._fresh = [other for other in self._fresh if other is not ticket]
        groups = ([other for other in group if other is not ticket] for group in self._apart)
        self._apart = deque(group for group in groups if group)
        if ticket in self._large:
            self._large.remove(ticket)
        if self._run is not None and ticket in self._run.tickets and all(t.result.done() for t in self._run.tickets):
            self._run.stop.set()


async def _in_thread(work: Callable[[], T], stop: threading.Event) -> T:
    """Return the result of `work`, which `stop` ends; when cancelled, end it and wait for its end."""

    def stoppable() -> T:
        with isolation.stoppable(stop):
            return work()

    task = asyncio.ensure_future(asyncio.to_thread(stoppable))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({task})
        task.exception()  # asyncio logs the traceback of one that nobody looks at
        raise
