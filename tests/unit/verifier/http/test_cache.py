"""Verdicts are kept for whom they were made, and only if they would be the same again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loraform_api.verification import (
    Diagnostic,
    HousePolicy,
    Program,
    ProgramVerdict,
    Stage,
    StageResult,
    Toolchain,
    VerifyRequest,
    VerifyResponse,
)
from loraform_verifier.http.cache import ENTRY_BYTES, CachingQueue, VerdictCache, is_lasting, key_of

TOOLCHAIN = Toolchain(terraform="none")


def request(text: str = "locals {}\n", program: dict[str, Any] | None = None, **fields: Any) -> VerifyRequest:
    programs = [Program(**{"id": "answer", "text": text, **(program or {})})]
    return VerifyRequest(**{"programs": programs, "stages": [Stage.PARSE], "within": 60, "caller": "a", **fields})


def verdict(*, inconclusive: bool = False, message: str = "") -> ProgramVerdict:
    finding = [Diagnostic(code="Timeout", message=message)]
    stage = StageResult(stage=Stage.PARSE, passed=not inconclusive, inconclusive=inconclusive, diagnostics=finding)
    return ProgramVerdict(id="answer", passed=not inconclusive, stages=[stage])


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "# other\n"},
        {"program": {"files": {"a.tf": ""}}},
        {"program": {"prompt": "password hunter2hunter2"}},
        {"program": {"rego": "package a"}},
        {"stages": [Stage.PARSE, Stage.POLICY]},
        {"policy": HousePolicy(comment="# house")},
        {"packs": ["package a"]},
        {"rewrite": True},
        {"judge_raw": True},
        {"caller": "b"},
    ],
    ids=str,
)
def test_what_decides_a_verdict_and_who_asks_is_in_the_key(changed: dict[str, Any]) -> None:
    assert key_of(request()) != key_of(request(**changed))


def test_the_name_of_a_program_and_the_deadline_are_not_in_the_key() -> None:
    assert key_of(request()) == key_of(request(program={"id": "other"}, within=5))


def test_the_verdicts_that_were_not_used_for_longest_go_first() -> None:
    cache = VerdictCache(max_bytes=3 * (ENTRY_BYTES + 1000))
    for name in (b"a", b"b", b"c"):
        cache.put(name, verdict(message="x" * 700))
    assert cache.get(b"a") is not None
    cache.put(b"d", verdict(message="x" * 700))
    assert [name for name in (b"a", b"b", b"c", b"d") if cache.get(name)] == [b"a", b"c", b"d"]
    cache.put(b"e", verdict(message="x" * 10_000))
    assert [name for name in (b"a", b"b", b"c", b"d", b"e") if cache.get(name)] == [], "it is larger than all"


@pytest.mark.parametrize("raw_passed", [True, False, None])
def test_an_inconclusive_verdict_of_either_form_does_not_last(raw_passed: bool | None) -> None:
    both = request(policy=HousePolicy(), rewrite=True, judge_raw=True)
    decided = verdict().model_copy(update={"raw_passed": raw_passed})
    assert is_lasting(both, decided) is (raw_passed is not None)
    assert is_lasting(request(), decided)
    assert not is_lasting(both, verdict(inconclusive=True).model_copy(update={"raw_passed": raw_passed}))


class StubQueue:
    """A queue that answers when it is told to, and counts what it was asked."""

    def __init__(self, *, inconclusive: bool = False) -> None:
        self.asked, self.left = 0, 0
        self.go_on = asyncio.Event()
        self.inconclusive = inconclusive

    async def submit(self, request: VerifyRequest) -> VerifyResponse:
        self.asked += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return VerifyResponse(verdicts=[verdict(inconclusive=self.inconclusive)], seconds=9, toolchain=TOOLCHAIN)


def caching(queue: StubQueue) -> CachingQueue:
    return CachingQueue(queue, TOOLCHAIN, VerdictCache(), clock=lambda: 0.0)  # type: ignore[arg-type]  # a stub


async def test_a_known_program_is_answered_without_the_queue() -> None:
    queue = StubQueue()
    queue.go_on.set()
    cached = caching(queue)
    await cached.submit(request())
    hit = await cached.submit(request(program={"id": "again"}))
    assert queue.asked == 1
    assert [(v.id, v.passed, v.seconds) for v in hit.verdicts] == [("again", True, 0)]
    assert hit.seconds == 0, "the time of this request, not of the one that was verified"


async def test_another_caller_is_not_told_what_is_known() -> None:
    queue = StubQueue()
    queue.go_on.set()
    cached = caching(queue)
    await cached.submit(request(caller="a"))
    await cached.submit(request(caller="b"))
    assert queue.asked == 2


async def test_a_time_out_is_made_again() -> None:
    queue = StubQueue(inconclusive=True)
    queue.go_on.set()
    cached = caching(queue)
    await cached.submit(request())
    await cached.submit(request())
    assert queue.asked == 2


async def test_equal_requests_of_a_caller_wait_for_one_run_until_the_last_leaves() -> None:
    queue = StubQueue()
    cached = caching(queue)
    first, second = (asyncio.create_task(cached.submit(request())) for _ in range(2))
    await asyncio.sleep(0)
    other = asyncio.create_task(cached.submit(request(caller="b")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert queue.asked == 2
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert queue.left == 0
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await asyncio.sleep(0)
    assert queue.left == 1
    queue.go_on.set()
    assert (await other).verdicts[0].passed


async def test_requests_of_several_programs_are_not_kept() -> None:
    queue = StubQueue()
    queue.go_on.set()
    cached = caching(queue)
    for _ in range(2):
        await cached.submit(request(programs=[Program(id="a"), Program(id="b")]))
    assert queue.asked == 2
