"""The queue, with a verifier that records what it gets together: who shares a run, whose turn it is, who leaves."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from loraform_api.verification import (
    Program,
    ProgramVerdict,
    Stage,
    StageResult,
    VerifyRequest,
    VerifyResponse,
)
from loraform_verifier.http.queue import Queue, TooLate, Verifiers
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import BATCH_SIZE, JUDGED_APART
from loraform_verifier.verify import Verifier

WAIT = 10.0


class Recorder(Verifier):
    """Records runs. A program `hang` makes a shared run undecided, `crash` makes a run raise."""

    def __init__(self, runs: list[tuple[str, ...]], *, shared: bool = False) -> None:
        super().__init__()
        self.runs, self.shared = runs, shared
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def verify(
        self, request: VerifyRequest, *, beginning: Callable[[Stage, int], None] = lambda _stage, _programs: None
    ) -> VerifyResponse:
        texts = tuple(program.text for program in request.programs)
        self.runs.append(texts)
        self.entered.set()
        stop = isolation._STOP.get()
        while not self.gate.wait(0.01):  # the pause between two looks
            if stop is not None and stop.is_set():
                raise isolation.Stopped
        if "crash" in texts:
            raise OSError("no space left")
        apart = self.shared and any(text.startswith("hang") for text in texts)
        stage = StageResult(
            stage=Stage.PARSE, passed=not apart, inconclusive=apart, diagnostics=[JUDGED_APART] if apart else []
        )
        verdicts = [
            ProgramVerdict(id=p.id, passed=not apart, stages=[stage], rewritten=p.text) for p in request.programs
        ]
        return VerifyResponse(verdicts=verdicts, seconds=1, toolchain=self.toolchain)


class World:
    """A running queue and what its verifiers ran."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.runs: list[tuple[str, ...]] = []
        self.shared, self.alone, self.large = (Recorder(self.runs, shared=n == 0) for n in range(3))
        self.queue = Queue(Verifiers(self.large, self.alone, self.shared), clock=clock, quiet=0.01)

    def ask(self, text: str, **fields: Any) -> asyncio.Task[VerifyResponse]:
        return self.ask_all(text, **{"within": 60, **fields})

    def ask_all(self, *texts: str, **fields: Any) -> asyncio.Task[VerifyResponse]:
        programs = [Program(id=f"id of {text}", text=text) for text in texts]
        return asyncio.create_task(self.queue.submit(VerifyRequest(programs=programs, stages=[Stage.PARSE], **fields)))

    async def begun(self, verifier: Recorder) -> None:
        """Wait until a run is in progress."""
        assert await asyncio.to_thread(verifier.entered.wait, WAIT)


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    made = World(**options)
    task = asyncio.create_task(made.queue.run())
    try:
        async with asyncio.timeout(WAIT):
            yield made
    finally:
        for verifier in (made.shared, made.alone, made.large):
            verifier.gate.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_requests_that_wait_share_a_run_and_each_gets_its_own_verdict() -> None:
    async with world() as place:
        answers = await asyncio.gather(*(place.ask(text) for text in "abc"))
    assert place.runs == [("a", "b", "c")]
    assert [[(v.id, v.rewritten, v.passed) for v in answer.verdicts] for answer in answers] == [
        [(f"id of {text}", text, True)] for text in "abc"
    ]


async def test_times_tell_nothing_of_the_others() -> None:
    async with world() as place:
        shared, _ = await asyncio.gather(place.ask("a"), place.ask("b"))
    assert (shared.seconds, shared.verdicts[0].seconds) == (0, 0), "by the stopped clock of this test"


async def test_requests_gather_while_a_run_is_in_progress() -> None:
    async with world() as place:
        place.alone.gate.clear()
        first = place.ask("a")
        await place.begun(place.alone)
        rest = [place.ask(text) for text in "bcd"]
        await asyncio.sleep(0)
        place.alone.gate.set()
        await asyncio.gather(first, *rest)
    assert place.runs == [("a",), ("b", "c", "d")]


async def test_a_hanging_program_is_found_in_smaller_runs_and_others_get_their_verdicts() -> None:
    texts = [*"abcdefghij", "hang", *"klmnopqrst"]
    async with world() as place:
        answers = await asyncio.gather(*(place.ask(text) for text in texts))
    assert all(answer.verdicts[0].passed for answer in answers)
    assert place.runs[0] == tuple(texts)
    assert all(len(run) <= 3 for run in place.runs[1:])
    assert ("hang",) in place.runs
    assert len(place.runs) == 1 + 7 + 3, "once with all, once in parts, and the hanging part one by one"


async def test_new_requests_run_between_those_that_are_judged_apart() -> None:
    async with world() as place:
        place.shared.gate.clear()
        suspects = [place.ask(text) for text in ("hang", "a")]
        await place.begun(place.shared)
        fresh = place.ask("fresh")
        await asyncio.sleep(0)
        place.shared.gate.set()
        await asyncio.gather(fresh, *suspects)
    assert place.runs.index(("fresh",)) < len(place.runs) - 1


async def test_who_sends_many_programs_that_hang_waits_for_others() -> None:
    texts = [f"hang {n}" for n in range(16)]
    async with world() as place:
        place.shared.gate.clear()
        hostile = [place.ask(text, caller="many") for text in texts]
        innocent = place.ask("a", caller="other")
        await place.begun(place.shared)
        place.shared.gate.set()
        assert (await innocent).verdicts[0].passed
        runs = list(place.runs)
        await asyncio.gather(*hostile)
    assert len(runs) <= 1 + 1 + 3, "with all, with few, and alone: before the others that hang"


async def test_large_requests_take_turns() -> None:
    texts = [str(n) for n in range(3 * BATCH_SIZE)]
    async with world() as place:
        place.large.gate.clear()
        longest = place.ask_all(*texts)
        await place.begun(place.large)
        short = place.ask_all("x", "y")
        await asyncio.sleep(0)
        place.large.gate.set()
        answers = await asyncio.gather(longest, short)
    assert [len(run) for run in place.runs] == [BATCH_SIZE, 2, BATCH_SIZE, BATCH_SIZE]
    assert [[v.rewritten for v in answer.verdicts] for answer in answers] == [texts, ["x", "y"]]


async def test_an_error_of_the_machine_in_a_shared_run_is_told_only_to_who_has_it_alone() -> None:
    async with world() as place:
        tasks = [place.ask(text) for text in ("a", "crash", "b")]
        good, crashed, other = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(crashed, OSError)
    assert isinstance(good, VerifyResponse)
    assert isinstance(other, VerifyResponse)


async def test_a_large_request_runs_in_parts_between_single_ones() -> None:
    texts = [str(n) for n in range(2 * BATCH_SIZE + 1)]
    async with world() as place:
        place.large.gate.clear()
        large = place.ask_all(*texts)
        await place.begun(place.large)
        single = place.ask("single")
        await asyncio.sleep(0)
        place.large.gate.set()
        answer, _ = await asyncio.gather(large, single)
    assert [len(run) for run in place.runs] == [BATCH_SIZE, 1, BATCH_SIZE, 1]
    assert [v.rewritten for v in answer.verdicts] == texts
    assert place.runs[1] == ("single",)


async def test_an_error_ends_a_large_request_and_the_next_one_runs() -> None:
    async with world() as place:
        crashed, good = await asyncio.gather(
            place.ask_all("crash", "a"), place.ask_all("b", "c"), return_exceptions=True
        )
    assert isinstance(crashed, OSError)
    assert isinstance(good, VerifyResponse)


async def test_a_request_of_no_program_is_answered() -> None:
    async with world() as place:
        assert (await place.ask_all()).verdicts == []


async def test_who_leaves_the_queue_costs_no_run() -> None:
    async with world() as place:
        place.alone.gate.clear()
        first = place.ask("a")
        await place.begun(place.alone)
        leavers = [place.ask(text) for text in "bcd"] + [place.ask_all("x", "y")]
        await asyncio.sleep(0)
        for leaver in leavers:
            leaver.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)
        place.alone.gate.set()
        await first
        await place.ask("e")
    assert place.runs == [("a",), ("e",)]


async def test_a_run_ends_when_the_last_caller_leaves_and_not_before() -> None:
    async with world() as place:
        place.shared.gate.clear()
        leavers = [place.ask(text) for text in "ab"]
        await place.begun(place.shared)
        run = place.queue._run
        assert run is not None
        leavers[0].cancel()
        await asyncio.gather(leavers[0], return_exceptions=True)
        assert not run.stop.is_set()
        leavers[1].cancel()
        await asyncio.gather(leavers[1], return_exceptions=True)
        assert run.stop.is_set()
        await place.ask("fresh")  # while the gate of the shared run is still closed
    assert place.runs == [("a", "b"), ("fresh",)]


async def test_who_stays_gets_the_verdict_of_a_run_that_others_left() -> None:
    async with world() as place:
        place.shared.gate.clear()
        stays, leaves = place.ask("a"), place.ask("b")
        await place.begun(place.shared)
        leaves.cancel()
        place.shared.gate.set()
        assert (await stays).verdicts[0].passed


async def test_a_request_that_cannot_be_answered_in_its_time_is_refused_at_once() -> None:
    now = 0.0
    async with world(clock=lambda: now) as place:
        place.alone.gate.clear()
        known = place.ask("a")
        await place.begun(place.alone)
        now = 10.0
        place.alone.gate.set()
        await known
        place.alone.gate.clear()
        place.alone.entered.clear()
        running = place.ask("b")
        await place.begun(place.alone)
        now = 14.0  # six seconds are left of this run, and the next one takes ten
        with pytest.raises(TooLate, match="the queue takes 16 s, asked within 12 s; ask again in 4 s") as refused:
            await place.ask("c", within=12)
        assert refused.value.retry_after == 4
        waiting = place.ask("d", within=17)
        await asyncio.sleep(0)
        place.alone.gate.set()
        await asyncio.gather(running, waiting)
    assert ("c",) not in place.runs


async def test_nothing_is_refused_before_the_first_run_is_known() -> None:
    async with world() as place:
        assert (await place.ask("a", within=0.001)).verdicts[0].passed


async def test_what_a_run_needs_is_prepared_before_the_first_and_after_each() -> None:
    prepared: list[int] = []
    place = World()
    place.queue = Queue(
        Verifiers(place.large, place.alone, place.shared), lambda: prepared.append(len(place.runs)), quiet=0.01
    )
    task = asyncio.create_task(place.queue.run())
    async with asyncio.timeout(WAIT):
        for text in "ab":
            await place.ask(text)
    assert prepared[:2] == [0, 1]
    assert place.queue.ready
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not place.queue.ready


async def test_a_preparation_that_fails_is_logged_and_requests_run(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("no space left")

    place = World()
    place.queue = Queue(Verifiers(place.large, place.alone, place.shared), fail, quiet=0.01)
    task = asyncio.create_task(place.queue.run())
    async with asyncio.timeout(WAIT):
        assert (await place.ask("a")).verdicts[0].passed
    assert not place.queue.ready
    assert "the providers could not be prepared" in caplog.text
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_queue_that_ends_stops_its_run(caplog: pytest.LogCaptureFixture) -> None:
    place = World()
    task = asyncio.create_task(place.queue.run())
    place.alone.gate.clear()
    asked = place.ask("a")
    await place.begun(place.alone)
    task.cancel()
    async with asyncio.timeout(WAIT):
        await asyncio.gather(task, return_exceptions=True)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    del task, asked
    gc.collect()
    assert not caplog.records
