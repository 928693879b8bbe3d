"""What Validate and Plan share: many programs in one terraform run, and the way out when a run fails as a whole.

Programs are child modules `r0`, `r1`, … of one root, so an error's file names its owner. Some errors end a run before
it has come to all modules; then the culprits are judged, taken out, and the rest runs again. What cannot be blamed on
anyone is divided down to single programs.
"""

from __future__ import annotations

import math
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from loraform_api.verification import Diagnostic
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.diagnostics import MAX_PER_PROGRAM, diagnostic_of
from loraform_verifier.terraform.provider_server import ProviderKeeper
from loraform_verifier.terraform.toolchain import Terraform, child_environment

P = TypeVar("P")
O = TypeVar("O")  # noqa: E741 - an outcome; single letters are how type variables are written

BUILT_IN = "terraform"
BATCH_SIZE = 250
WAYS = 8
"""A program that hangs costs one deadline a level, so few levels of division matter more than few runs."""
KILLED = (-signal.SIGKILL, -signal.SIGXCPU)
NOT_THE_PROGRAM = {
    "Failed to instantiate provider",
    "Failed to load plugin schemas",
    "Plugin did not respond",
    "Plugin error",
    "Request cancelled",
    "Required plugins are not installed",
    "Unsupported plugin method",
}
"""Summaries that speak of a provider that crashed or is gone: no verdict on the program they are printed for."""
_OUT_OF_MEMORY = re.compile(rb"out of memory|cannot allocate memory", re.IGNORECASE)
_PROGRAM = r"r\d{1,6}"
"""The module of a program; a program's own modules may have such names, with more digits than a number has."""
_BLAMED = re.compile(rf"\b(?:module\.(?=r)|(?={_PROGRAM}/[\w./-]{{1,200}}\.tf:))({_PROGRAM})\b")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long terraform may take; generous, for they guard against hangs and not against slowness."""

    run: float = 60
    """Seconds of processor time of one run: on a busy machine work is slow, yet a hang burns as much."""
    program: float = 0.3
    """More for each program of a batch."""
    waiting: float = 5
    """Wall time of one run, as a multiple of its processor time."""
    request: float = 1800
    """Wall time of all runs together; programs that are not judged by then time out."""


DEADLINES = Deadlines()


@dataclass(frozen=True, slots=True)
class Round(Generic[O]):
    """What one run said: outcomes of some programs, and others that must be judged alone."""

    decided: dict[int, O] = field(default_factory=dict)
    blamed: set[int] = field(default_factory=set)


def in_batches(
    programs: Mapping[int, P], together: Callable[[dict[int, P]], Round[O] | None], alone: Callable[[int, P], O]
) -> dict[int, O]:
    """Judge all programs, as many at once as it goes. `together` returns None when its run was of no use."""
    outcomes: dict[int, O] = {}
    for part in parts(list(programs), -(-len(programs) // BATCH_SIZE)):
        outcomes |= _batch({index: programs[index] for index in part}, together, alone)
    return outcomes


def _batch(
    rest: dict[int, P], together: Callable[[dict[int, P]], Round[O] | None], alone: Callable[[int, P], O]
) -> dict[int, O]:
    outcomes: dict[int, O] = {}
    while len(rest) > 1:
        found = together(rest)
        if found is None or not (found.decided or found.blamed):
            for part in parts(list(rest), WAYS):
                outcomes |= _batch({index: rest[index] for index in part}, together, alone)
            return outcomes
        outcomes |= found.decided | {index: alone(index, rest[index]) for index in found.blamed}
        rest = {index: program for index, program in rest.items() if index not in outcomes}
    return outcomes | {index: alone(index, program) for index, program in rest.items()}


class Runner:
    """Runs one toolchain under the deadlines, with kept providers where there is a keeper."""

    def __init__(self, terraform: Terraform, deadlines: Deadlines, keeper: ProviderKeeper | None, until: float) -> None:
        """All runs together end at `until`, a time of the monotonic clock."""
        self._terraform = terraform
        self._deadlines = deadlines
        self._keeper = keeper
        self._until = until

    def run(
        self,
        root: Path,
        arguments: Sequence[str],
        providers: Iterable[str],
        usable: Callable[[isolation.Finished], bool],
        *,
        programs: int,
    ) -> isolation.Finished:
        """Run terraform in `root`. What is not `usable` is tried again without kept providers."""
        seconds = self._deadlines.run + (self._deadlines.program * programs if programs > 1 else 0)
        wall = min(seconds * self._deadlines.waiting, self._until - time.monotonic())
        if wall <= 0:
            return isolation.Finished(-signal.SIGKILL, b"", b"", timed_out=True)
        command = [str(self._terraform.binary), *arguments]
        env, limits = child_environment(root), isolation.Limits(cpu=math.ceil(seconds))
        readable = self._terraform.readable
        if self._keeper:
            attached = env | self._keeper.environment(providers)
            finished = isolation.run(command, cwd=root, env=attached, seconds=wall, readable=readable, limits=limits)
            if usable(finished):
                return finished
            self._keeper.drop()  # it may be what hangs or has crashed
            if was_stopped(finished):
                return finished
        return isolation.run(command, cwd=root, env=env, seconds=wall, readable=readable, limits=limits)


def was_stopped(finished: isolation.Finished) -> bool:
    """Say whether a child ran out of time or memory; Go says so itself, and exits."""
    return bool(finished.timed_out or finished.returncode in KILLED or _OUT_OF_MEMORY.search(finished.stderr))


def no_verdict(finished: isolation.Finished) -> Diagnostic:
    """Return why a run that gave no usable answer gave none."""
    if was_stopped(finished):
        message = "terraform was stopped: it ran out of time or memory."
        return Diagnostic(code="Timeout", message=message, hint="Shorten loops and expressions.")
    message = f"terraform gave no verdict (exit status {finished.returncode}): {finished.said}"
    return Diagnostic(code="TerraformFailed", message=message)


def missing_provider(terraform: Terraform, local_names: Iterable[str]) -> Diagnostic | None:
    """Return a diagnostic when a provider that a program uses is not installed."""
    absent = sorted(name for name in local_names if name != BUILT_IN and terraform.provider(name) is None)
    if not absent:
        return None
    known = ", ".join(p.source for p in terraform.providers)
    message = f"Provider {absent[0]!r} is not installed here; installed: {known}."
    return Diagnostic(code="ProviderMissing", message=message)


def speaks_of_providers(errors: Iterable[dict[str, Any]]) -> bool:
    """Say whether some error is about a provider that crashed, so that the run is no verdict."""
    return any(error.get("summary") in NOT_THE_PROGRAM for error in errors)


def module_of(error: dict[str, Any]) -> str | None:
    """Return the child module in whose file an error lies."""
    module, _, file = str((error.get("range") or {}).get("filename", "")).partition("/")
    return module if file else None


def index_of(error: dict[str, Any]) -> int | None:
    """Return the program in whose file an error lies."""
    module = module_of(error)
    return int(module[1:]) if module and re.fullmatch(_PROGRAM, module) else None


def by_program(errors: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Return the errors of each program."""
    found: dict[int, list[dict[str, Any]]] = {}
    for error in errors:
        if (index := index_of(error)) is not None:
            found.setdefault(index, []).append(error)
    return found


def diagnostics_of(errors: Sequence[dict[str, Any]]) -> list[Diagnostic]:
    """Return our form of the first errors of one program."""
    return [diagnostic_of(error, module_of(error) or "") for error in errors[:MAX_PER_PROGRAM]]


def blamed(errors: Iterable[dict[str, Any]]) -> set[int]:
    """Return the programs that errors without a place of their own name, such as cycles. They are judged alone."""
    texts = [f"{e.get('summary')} {e.get('detail')}" for e in errors if module_of(e) is None]
    return {int(name[1:]) for text in texts for name in _BLAMED.findall(text)}


def parts(items: list[P], count: int) -> Iterator[list[P]]:
    """Yield `items` in `count` parts of nearly equal size, none of them empty."""
    size = max(1, -(-len(items) // max(1, count)))
    for start in range(0, len(items), size):
        yield items[start : start + size]
