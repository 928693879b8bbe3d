"""Judges programs with `terraform validate`, hundreds in one run, each exactly as if it were judged alone.

A canary module tells whether terraform came to judge modules at all; where it did not, errors of some programs hide
those of all others. Programs that cannot be judged in company run as their own root.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.normalise import Normalised
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import (
    DEADLINES,
    Deadlines,
    Round,
    Runner,
    blamed,
    by_program,
    diagnostics_of,
    in_batches,
    missing_provider,
    module_of,
    no_verdict,
    speaks_of_providers,
)
from loraform_verifier.terraform.diagnostics import MAX_PER_PROGRAM, diagnostic_of, errors_of
from loraform_verifier.terraform.provider_server import ProviderKeeper
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.workspace import CANARY, lay_out_alone, lay_out_batch

VALIDATE = ("validate", "-json", "-no-color")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What terraform says of one program; `undecided` says why it could not say anything."""

    errors: list[Diagnostic] = field(default_factory=list)
    undecided: Diagnostic | None = None


class Validator:
    """Runs `validate` on batches with one toolchain."""

    def __init__(
        self, terraform: Terraform, deadlines: Deadlines = DEADLINES, keeper: ProviderKeeper | None = None
    ) -> None:
        """With a `keeper`, providers live on between runs; then, as the keeper, not for several threads at once."""
        self._terraform = terraform
        self._deadlines = deadlines
        self._keeper = keeper

    def validate(self, programs: list[Normalised]) -> list[Outcome]:
        """Judge programs; outcomes come in the same order. Raises IsolationError where children cannot be confined."""
        runner = Runner(self._terraform, self._deadlines, self._keeper, time.monotonic() + self._deadlines.request)
        outcomes: dict[int, Outcome] = {}
        together: dict[int, Normalised] = {}
        for index, program in enumerate(programs):
            if absent := missing_provider(self._terraform, program.providers):
                outcomes[index] = Outcome(undecided=absent)
            elif program.root_only:
                outcomes[index] = self._alone(runner, index, program)
            else:
                together[index] = program
        outcomes |= in_batches(together, partial(self._together, runner), partial(self._alone, runner))
        return [outcomes[index] for index in range(len(programs))]

    def _together(self, runner: Runner, programs: dict[int, Normalised]) -> Round[Outcome] | None:
        with isolation.private_folder() as root:
            lay_out_batch(root, self._terraform, {f"r{index}": program for index, program in programs.items()})
            found = _errors(_validate(runner, root, programs))
        if found is None:
            return None
        errors = [error for error in found if module_of(error) != CANARY]
        guilty = blamed(errors) & programs.keys()
        if any(module_of(error) is None and not blamed([error]) for error in errors):
            return Round(blamed=guilty) if guilty else None  # some error may be anyone's
        walked, own = len(errors) < len(found), by_program(errors)
        if not walked:
            # Alone, terraform does not look into the modules of a program that it could not load.
            guilty |= {index for index in own if programs[index].calls}
        judged = [index for index in programs if index not in guilty and (walked or index in own)]
        return Round({index: Outcome(diagnostics_of(own.get(index, []))) for index in judged}, guilty)

    def _alone(self, runner: Runner, index: int, program: Normalised) -> Outcome:
        with isolation.private_folder() as root:
            lay_out_alone(root, self._terraform, program)
            finished = _validate(runner, root, {index: program})
        errors = _errors(finished)
        if errors is None:
            return Outcome(undecided=no_verdict(finished))
        return Outcome([diagnostic_of(error) for error in errors][:MAX_PER_PROGRAM])


def _validate(runner: Runner, root: Path, programs: dict[int, Normalised]) -> isolation.Finished:
    providers = frozenset[str]().union(*(program.needs for program in programs.values()))
    return runner.run(root, VALIDATE, providers, _judges, programs=len(programs))


def _judges(finished: isolation.Finished) -> bool:
    return _errors(finished) is not None


def _errors(finished: isolation.Finished) -> list[dict[str, Any]] | None:
    if finished.timed_out or finished.flooded:
        return None
    try:
        found = json.loads(finished.stdout)["diagnostics"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    errors = errors_of(found)
    return None if speaks_of_providers(errors) else errors
