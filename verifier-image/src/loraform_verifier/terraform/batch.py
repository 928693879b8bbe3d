"""Batches of programs in one terraform run, for Validate and Plan.

Programs are child modules `r0`, `r1`, … of one root, so the file of an error identifies its program. Some errors end a
run before terraform has checked all modules. Then the programs that they name run alone, and the rest runs again. If an
error names no program, the batch is split, down to single programs.

A batch of several callers has one run and no other: a program that needs more is judged apart, later, by whoever made
the batch.
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
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform, child_environment

P = TypeVar("P")
O = TypeVar("O")  # noqa: E741 - an outcome; type variables are single letters

BUILT_IN = "terraform"
BATCH_SIZE = 250
WAYS = 8
"""Parts into which a batch is split. A hanging program costs one deadline a level, so levels cost more than runs."""
KILLED = (-signal.SIGKILL, -signal.SIGXCPU)
PROVIDER_FAILURES = {
    "Failed to instantiate provider",
    "Failed to load plugin schemas",
    "Plugin did not respond",
    "Plugin error",
    "Request cancelled",
    "Required plugins are not installed",
    "Unsupported plugin method",
}
"""Summaries of errors about a provider that crashed or is missing: no verdict on a program."""
_OUT_OF_MEMORY = re.compile(rb"out of memory|cannot allocate memory", re.IGNORECASE)
_PROGRAM = r"r\d{1,6}"
"""Module name of a program. A program's own modules may have similar names, with more digits."""
_BLAMED = re.compile(rf"\b(?:module\.(?=r)|(?={_PROGRAM}/[\w./-]{{1,200}}\.tf:))({_PROGRAM})\b")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time limits of terraform; generous, since they guard against hangs, not slowness."""

    run: float = 60
    """Seconds of processor time of one run; unlike wall time, it does not depend on other load."""
    program: float = 0.3
    """Additional seconds for each program of a batch."""
    waiting: float = 5
    """Wall time of one run, as a multiple of its processor time."""
    request: float = 1800
    """Seconds of wall time of all runs of a request; programs without an outcome by then time out."""
    rego: float = 600
    """Seconds of wall time of all Rego of a stage."""
    policy: float = 30
    """Seconds of processor time of one program's policies; the slowest policy of IaC-Eval takes four."""
    shared: bool = False
    """The programs are of several callers: those that need runs of their own get the outcome `JUDGED_APART`."""

    @property
    def ways(self) -> int:
        """Parts into which a batch without a usable run is split."""
        return BATCH_SIZE if self.shared else WAYS


DEADLINES = Deadlines()
ALONE = Deadlines(run=8, program=0.1, waiting=3, request=30, rego=30, policy=8)
"""Time limits of one caller's program while others wait. A usual run takes 1.5 s of processor time, Plan three such."""
SHARED = Deadlines(run=3, program=0.05, waiting=3, request=60, rego=30, policy=3, shared=True)
"""Time limits of a batch of several callers. They are short, since one program that hangs delays all others once."""
JUDGED_APART = Diagnostic(code="JudgedApart", message="This program needs a run of its own.")
"""No verdict: the program must be judged without programs of others. No caller sees it."""


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[O]):
    """What one run gave: outcomes of some programs, and programs that must run alone."""

    decided: dict[int, O] = field(default_factory=dict)
    blamed: set[int] = field(default_factory=set)


def in_batches(
    programs: Mapping[int, P],
    together: Callable[[dict[int, P]], BatchResult[O] | None],
    alone: Callable[[int, P], O],
    *,
    ways: int = WAYS,
) -> dict[int, O]:
    """Return the outcome of each program. `together` runs a batch and returns None if the run has no usable result.

    Such a batch is split into `ways` parts.
    """
    outcomes: dict[int, O] = {}
    for part in parts(list(programs), -(-len(programs) // BATCH_SIZE)):
        outcomes |= _batch({index: programs[index] for index in part}, together, alone, ways)
    return outcomes


def _batch(
    rest: dict[int, P],
    together: Callable[[dict[int, P]], BatchResult[O] | None],
    alone: Callable[[int, P], O],
    ways: int,
) -> dict[int, O]:
    outcomes: dict[int, O] = {}
    while len(rest) > 1:
        batch = together(rest)
        if batch is None or not (batch.decided or batch.blamed):
            for part in parts(list(rest), ways):
                outcomes |= _batch({index: rest[index] for index in part}, together, alone, ways)
            return outcomes
        outcomes |= batch.decided | {index: alone(index, rest[index]) for index in batch.blamed}
        rest = {index: program for index, program in rest.items() if index not in outcomes}
    return outcomes | {index: alone(index, program) for index, program in rest.items()}


class Runner:
    """Runs terraform within the deadlines, with running provider servers if there are any."""

    def __init__(
        self, terraform: Terraform, deadlines: Deadlines, servers: ProviderServers | None, until: float
    ) -> None:
        """`until`, a time of the monotonic clock, ends all runs."""
        self._terraform = terraform
        self._deadlines = deadlines
        self._servers = servers
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
        """Run terraform in `root`. If the result is not `usable`, retry without the provider servers."""
        seconds = self._deadlines.run + (self._deadlines.program * programs if programs > 1 else 0)
        wall = min(seconds * self._deadlines.waiting, self._until - time.monotonic())
        if wall <= 0:
            return isolation.Finished(-signal.SIGKILL, b"", b"", timed_out=True)
        command = [str(self._terraform.binary), *arguments]
        env, limits = child_environment(root), isolation.Limits(cpu=math.ceil(seconds))
        readable = self._terraform.readable
        if self._servers:
            attached = env | self._servers.environment(providers)
            finished = isolation.run(command, cwd=root, env=attached, seconds=wall, readable=readable, limits=limits)
            if usable(finished):
                return finished
            stopped = was_stopped(finished)
            if finished.timed_out or not stopped:  # otherwise terraform itself went beyond its limits
                self._servers.drop()  # one of them may hang or have crashed
            if stopped:
                return finished
        return isolation.run(command, cwd=root, env=env, seconds=wall, readable=readable, limits=limits)


def was_stopped(finished: isolation.Finished) -> bool:
    """Return whether a child ran out of time or memory, which Go may report itself before it exits."""
    return bool(finished.timed_out or finished.returncode in KILLED or _OUT_OF_MEMORY.search(finished.stderr))


def failure_diagnostic(finished: isolation.Finished) -> Diagnostic:
    """Return the diagnostic for a run without a usable result."""
    if was_stopped(finished):
        message = "terraform was stopped: it ran out of time or memory."
        return Diagnostic(code="Timeout", message=message, hint="Shorten loops and expressions.")
    message = f"terraform failed without a diagnostic (exit status {finished.returncode}): {finished.output_tail}"
    return Diagnostic(code="TerraformFailed", message=message)


def missing_provider(terraform: Terraform, local_names: Iterable[str]) -> Diagnostic | None:
    """Return a diagnostic if a provider that a program uses is not installed."""
    absent = sorted(name for name in local_names if name != BUILT_IN and terraform.provider(name) is None)
    if not absent:
        return None
    known = ", ".join(p.source for p in terraform.providers)
    message = f"Provider {absent[0]!r} is not installed here; installed: {known}."
    return Diagnostic(code="ProviderMissing", message=message)


def has_provider_failure(errors: Iterable[dict[str, Any]]) -> bool:
    """Return whether an error is about a crashed or missing provider, so that the run gives no verdict."""
    return any(error.get("summary") in PROVIDER_FAILURES for error in errors)


def module_of(error: dict[str, Any]) -> str | None:
    """Return the child module that holds the file of an error."""
    module, _, file = str((error.get("range") or {}).get("filename", "")).partition("/")
    return module if file else None


def index_of(error: dict[str, Any]) -> int | None:
    """Return the index of the program that holds the file of an error."""
    module = module_of(error)
    return int(module[1:]) if module and re.fullmatch(_PROGRAM, module) else None


def by_program(errors: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Return errors by program index."""
    by_index: dict[int, list[dict[str, Any]]] = {}
    for error in errors:
        if (index := index_of(error)) is not None:
            by_index.setdefault(index, []).append(error)
    return by_index


def diagnostics_of(errors: Sequence[dict[str, Any]]) -> list[Diagnostic]:
    """Return diagnostics for the first errors of one program."""
    return [diagnostic_of(error, module_of(error) or "") for error in errors[:MAX_PER_PROGRAM]]


def blamed(errors: Iterable[dict[str, Any]]) -> set[int]:
    """Return the programs named by errors that have no file, such as cycles. They must run alone."""
    texts = [f"{e.get('summary')} {e.get('detail')}" for e in errors if module_of(e) is None]
    return {int(name[1:]) for text in texts for name in _BLAMED.findall(text)}


def parts(items: list[P], count: int) -> Iterator[list[P]]:
    """Yield `items` in at most `count` non-empty parts of nearly equal size."""
    size = max(1, -(-len(items) // max(1, count)))
    for start in range(0, len(items), size):
        yield items[start : start + size]
