"""Requests of several callers in one: which may share a run, and who gets which verdict. Pure.

What is shared is a run of the verifier with equal stages, policy and packs. A verdict goes to the caller of its program
and to no other, and nothing in it depends on the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loraform_api.verification import Program, ProgramVerdict, VerifyRequest
from loraform_verifier.terraform.batch import BATCH_SIZE, JUDGED_APART

MAX_PROGRAMS = 64
MAX_CHARACTERS = 500_000
"""Characters of all programs of a shared run, so that it needs hardly more memory than the largest single program."""


def is_shareable(request: VerifyRequest) -> bool:
    """Return whether a caller waits for this one program; any other request is judged by itself."""
    return request.within is not None and len(request.programs) == 1


@dataclass(frozen=True, slots=True)
class Share:
    """What decides with which others a request runs, and when."""

    group: str
    """What requests must have in common to share a run."""
    caller: str
    characters: int


def share_of(request: VerifyRequest) -> Share:
    """Return the share of a request in a run."""
    group = request.model_dump_json(exclude={"programs", "within", "caller"})
    return Share(group, request.caller, sum(map(_characters, request.programs)))


def first_batch(waiting: Sequence[Share]) -> list[int]:
    """Return the indices of those that run first, of `waiting` in the order of their arrival.

    Callers take turns: it is the oldest request, and of those that can share its run the oldest of each caller, then
    the second of each, as many as fit.
    """
    chosen, characters = list[int](), 0
    for index in _in_turns(waiting):
        share = waiting[index]
        fits = len(chosen) < MAX_PROGRAMS and characters + share.characters <= MAX_CHARACTERS
        if not chosen or (fits and share.group == waiting[chosen[0]].group):
            chosen.append(index)
            characters += share.characters
    return chosen


def runs_until(waiting: Sequence[Share]) -> int:
    """Return the number of runs after which the last one of `waiting` is answered, if nothing else arrives."""
    last, runs = waiting[-1], 0
    while True:
        chosen = set(first_batch(waiting))
        runs += 1
        if len(waiting) - 1 in chosen:
            return runs
        waiting = [*(share for index, share in enumerate(waiting[:-1]) if index not in chosen), last]


def _in_turns(waiting: Sequence[Share]) -> list[int]:
    turns, count = list[int](), Counter[str]()
    for share in waiting:
        turns.append(count[share.caller])
        count[share.caller] += 1
    return sorted(range(len(waiting)), key=turns.__getitem__)


def merged(requests: Sequence[VerifyRequest]) -> VerifyRequest:
    """Return one request with the programs of all, under names that say nothing of their callers."""
    programs = [program for request in requests for program in request.programs]
    named = [program.model_copy(update={"id": str(index)}) for index, program in enumerate(programs)]
    return requests[0].model_copy(update={"programs": named, "within": None, "caller": ""})


def slices(request: VerifyRequest) -> Iterator[VerifyRequest]:
    """Yield a large request in parts of one terraform batch each, between which others may run."""
    for start in range(0, max(1, len(request.programs)), BATCH_SIZE):
        yield request.model_copy(update={"programs": request.programs[start : start + BATCH_SIZE]})


def needs_own_run(request: VerifyRequest, verdict: ProgramVerdict) -> bool:
    """Return whether a shared run left the program of a request to be judged apart, in either of its forms."""
    # Why its raw form has no verdict is not told. It is seldom a reason of the program's own beside a decided one.
    if verdict.decided is not None and request.judge_raw and verdict.raw_passed is None:
        return True
    return any(finding.code == JUDGED_APART.code for stage in verdict.stages for finding in stage.diagnostics)


def _characters(program: Program) -> int:
    return len(program.text) + sum(map(len, program.files.values()))
