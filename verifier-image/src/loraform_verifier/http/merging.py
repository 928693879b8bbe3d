"""Requests of several callers in one: which may share a run, and who gets which verdict. Pure.

What is shared is a run of the verifier with equal stages, policy and packs. A verdict goes to the caller of its program
and to no other, and nothing in it depends on the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loraform_api.verification import Program, ProgramVerdict, VerifyRequest
from loraform_verifier.terraform.batch import BATCH_SIZE, JUDGED_APART

MAX_PROGRAMS = 64
MAX_CHARACTERS = 500_000
"""Characters of all programs of a shared run, so that it needs hardly more memory than the largest single program."""


def is_shareable(request: VerifyRequest) -> bool:
    """Return whether a caller waits for this one program; any other request is judged by itself."""
    return request.within is not None and len(request.programs) == 1


def group_of(request: VerifyRequest) -> str:
    """Return what requests must have in common to share a run."""
    return request.model_dump_json(exclude={"programs", "within", "caller"})


def first_batch(requests: Sequence[VerifyRequest], groups: Sequence[str]) -> list[int]:
    """Return the indices of the requests that run first: the oldest, and those that can share its run."""
    chosen, characters = list[int](), 0
    for index, request in enumerate(requests):
        size = sum(map(_characters, request.programs))
        fits = len(chosen) < MAX_PROGRAMS and characters + size <= MAX_CHARACTERS
        if not chosen or (fits and groups[index] == groups[chosen[0]]):
            chosen.append(index)
            characters += size
    return chosen


def merged(requests: Sequence[VerifyRequest]) -> VerifyRequest:
    """Return one request with the programs of all, under names that say nothing of their callers."""
    programs = [program for request in requests for program in request.programs]
    named = [program.model_copy(update={"id": str(index)}) for index, program in enumerate(programs)]
    return requests[0].model_copy(update={"programs": named, "within": None, "caller": ""})


def slices(request: VerifyRequest) -> Iterator[VerifyRequest]:
    """Yield a large request in parts of one terraform batch each, between which others may run."""
    for start in range(0, max(1, len(request.programs)), BATCH_SIZE):
        yield request.model_copy(update={"programs": request.programs[start : start + BATCH_SIZE]})


def needs_own_run(verdict: ProgramVerdict) -> bool:
    """Return whether a shared run left a program to be judged apart."""
    return any(finding.code == JUDGED_APART.code for stage in verdict.stages for finding in stage.diagnostics)


def _characters(program: Program) -> int:
    return len(program.text) + sum(map(len, program.files.values()))
