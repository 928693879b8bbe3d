"""Judges programs with `terraform validate`, hundreds in one run, each exactly as if it were judged alone.

Programs are child modules of one root. Some errors end a run before the modules are judged and so hide the errors of
all others; a canary module tells when that happened. Then the culprits are judged, taken out, and the rest runs again.
What cannot be blamed on anyone is halved down to single programs, and those run as their own root.
"""

from __future__ import annotations

import json
import math
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loraform_api.verification import Diagnostic
from loraform_verifier import isolation
from loraform_verifier.diagnostics import MAX_PER_PROGRAM, diagnostic_of
from loraform_verifier.keeper import ProviderKeeper
from loraform_verifier.normalise import Normalised
from loraform_verifier.toolchain import Terraform, child_environment
from loraform_verifier.workspace import CANARY, lay_out_alone, lay_out_batch

BUILT_IN = "terraform"
BATCH_SIZE = 250
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
_BLAMED = re.compile(r"\bmodule\.(r\d+)\b")


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What terraform says of one program; `undecided` says why it could not say anything."""

    errors: list[Diagnostic] = field(default_factory=list)
    undecided: Diagnostic | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """One terraform process: its errors by module, and whether it came to judge modules at all."""

    errors: list[dict[str, Any]]
    walked: bool

    @property
    def unplaced(self) -> bool:
        """Some error lies in no program's file."""
        return any(_module(error) is None for error in self.errors)


class Validator:
    """Runs `validate` on batches with one toolchain."""

    def __init__(
        self, terraform: Terraform, deadlines: Deadlines = Deadlines(), keeper: ProviderKeeper | None = None
    ) -> None:
        """With a `keeper`, providers live on between runs; then, as the keeper, not for several threads at once."""
        self._terraform = terraform
        self._deadlines = deadlines
        self._keeper = keeper

    def validate(self, programs: list[Normalised]) -> list[Outcome]:
        """Judge programs; outcomes come in the same order. Raises IsolationError where children cannot be confined."""
        until = time.monotonic() + self._deadlines.request
        outcomes: dict[int, Outcome] = {}
        together: list[int] = []
        for index, program in enumerate(programs):
            if absent := self._missing_provider(program):
                outcomes[index] = Outcome(undecided=absent)
            elif program.root_only:
                outcomes[index] = self._alone(program, until)
            else:
                together.append(index)
        for batch in _parts(together, -(-len(together) // BATCH_SIZE)):
            outcomes |= self._batch({index: programs[index] for index in batch}, until)
        return [outcomes[index] for index in range(len(programs))]

    def _missing_provider(self, program: Normalised) -> Diagnostic | None:
        absent = sorted(n for n in program.providers if n != BUILT_IN and self._terraform.provider(n) is None)
        if not absent:
            return None
        known = ", ".join(p.source for p in self._terraform.providers)
        message = f"Provider {absent[0]!r} is not installed here; installed: {known}."
        return Diagnostic(code="ProviderMissing", message=message)

    def _batch(self, programs: dict[int, Normalised], until: float) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        rest = dict(programs)
        while len(rest) > 1:
            run = self._run_batch(rest, until)
            if run is None:
                return outcomes | self._split(rest, until)
            by_program = _by_program(run.errors)
            blamed = _blamed(run.errors) & rest.keys()
            if (run.unplaced and not blamed) or not (run.walked or by_program or blamed):
                return outcomes | self._split(rest, until)
            for index in blamed:
                outcomes[index] = self._alone(rest.pop(index), until)
            judged = [index for index in rest if run.walked or index in by_program]
            for index in judged:
                outcomes[index] = Outcome(by_program.get(index, []))
                del rest[index]
        return outcomes | {index: self._alone(program, until) for index, program in rest.items()}

    def _split(self, programs: dict[int, Normalised], until: float) -> dict[int, Outcome]:
        # Eight ways: a program that hangs costs one deadline a level, so few levels matter more than few runs.
        outcomes: dict[int, Outcome] = {}
        for part in _parts(list(programs), 8):
            outcomes |= self._batch({index: programs[index] for index in part}, until)
        return outcomes

    def _alone(self, program: Normalised, until: float) -> Outcome:
        with _folder() as root:
            lay_out_alone(root, self._terraform, program)
            finished = self._terraform_validate(root, program.providers, self._deadlines.run, until)
        if finished.timed_out or finished.returncode in KILLED:
            message = "terraform was stopped: it ran out of time or memory."
            return Outcome(undecided=Diagnostic(code="Timeout", message=message, hint="Shorten loops and expressions."))
        errors = _errors(finished)
        if errors is None:
            said = " ".join((finished.stderr or finished.stdout)[-300:].decode(errors="replace").split())
            message = f"terraform gave no verdict (exit status {finished.returncode}): {said}"
            return Outcome(undecided=Diagnostic(code="TerraformFailed", message=message))
        return Outcome([diagnostic_of(e) for e in errors][:MAX_PER_PROGRAM])

    def _run_batch(self, programs: dict[int, Normalised], until: float) -> _Run | None:
        """Run all as child modules; None when there is no usable answer."""
        with _folder() as root:
            lay_out_batch(root, self._terraform, {f"r{index}": program for index, program in programs.items()})
            seconds = self._deadlines.run + self._deadlines.program * len(programs)
            names = frozenset[str]().union(*(program.providers for program in programs.values()))
            errors = _errors(self._terraform_validate(root, names, seconds, until))
        if errors is None:
            return None
        return _Run([e for e in errors if _module(e) != CANARY], any(_module(e) == CANARY for e in errors))

    def _terraform_validate(
        self, root: Path, providers: frozenset[str], seconds: float, until: float
    ) -> isolation.Finished:
        wall = min(seconds * self._deadlines.waiting, until - time.monotonic())
        if wall <= 0:
            return isolation.Finished(-signal.SIGKILL, b"", b"", timed_out=True)
        command = [str(self._terraform.binary), "validate", "-json", "-no-color"]
        env, limits = child_environment(root), isolation.Limits(cpu=math.ceil(seconds))
        if self._keeper:
            attached = env | self._keeper.environment(providers)
            finished = isolation.run(command, cwd=root, env=attached, seconds=wall, limits=limits)
            if _errors(finished) is not None:
                return finished
            self._keeper.drop()  # it may be what hangs or has crashed
            if finished.timed_out or finished.returncode in KILLED:
                return finished
        return isolation.run(command, cwd=root, env=env, seconds=wall, limits=limits)


@contextmanager
def _folder() -> Iterator[Path]:
    # The provider's socket lies in it and its path has at most 107 bytes, so the name is short.
    with tempfile.TemporaryDirectory(prefix="lf-") as name:
        yield Path(name)


def _errors(finished: isolation.Finished) -> list[dict[str, Any]] | None:
    if finished.timed_out or finished.flooded:
        return None
    try:
        found = json.loads(finished.stdout)["diagnostics"]
    except (ValueError, KeyError, TypeError):
        return None
    errors = [d for d in found if d.get("severity") == "error"]
    return None if any(d.get("summary") in NOT_THE_PROGRAM for d in errors) else errors


def _module(error: dict[str, Any]) -> str | None:
    filename = (error.get("range") or {}).get("filename", "")
    module, _, file = str(filename).partition("/")
    return module if file else None


def _by_program(errors: list[dict[str, Any]]) -> dict[int, list[Diagnostic]]:
    found: dict[int, list[Diagnostic]] = {}
    for error in errors:
        if (module := _module(error)) and module[1:].isdigit():
            diagnostics = found.setdefault(int(module[1:]), [])
            if len(diagnostics) < MAX_PER_PROGRAM:
                diagnostics.append(diagnostic_of(error, module))
    return found


def _blamed(errors: list[dict[str, Any]]) -> set[int]:
    """Return the programs that errors without a place of their own name, such as cycles. They are judged alone."""
    texts = [f"{e.get('summary')} {e.get('detail')}" for e in errors if _module(e) is None]
    return {int(name[1:]) for text in texts for name in _BLAMED.findall(text)}


def _parts(items: list[int], count: int) -> Iterator[list[int]]:
    """Yield `items` in `count` parts of nearly equal size, none of them empty."""
    size = max(1, -(-len(items) // max(1, count)))
    for start in range(0, len(items), size):
        yield items[start : start + size]
