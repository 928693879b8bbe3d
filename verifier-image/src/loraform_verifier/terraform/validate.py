"""The Validate stage: `terraform validate` on hundreds of programs in one run, with the verdicts of separate runs.

A canary module shows whether terraform validated the modules at all. If it did not, errors of some programs hide those
of the others. Programs that cannot share a run are root modules of their own,
as their authors would run them.
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
    JUDGED_APART,
    BatchResult,
    Deadlines,
    Runner,
    blamed,
    by_program,
    diagnostics_of,
    failure_diagnostic,
    has_provider_failure,
    in_batches,
    missing_provider,
    module_of,
)
from loraform_verifier.terraform.diagnostics import MAX_PER_PROGRAM, diagnostic_of, errors_of
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.workspace import CANARY, lay_out_alone, lay_out_batch

VALIDATE = ("validate", "-json", "-no-color")


@dataclass(frozen=True, slots=True)
class ValidateOutcome:
    """The errors of one program; `undecided` says why terraform gave no verdict."""

    errors: list[Diagnostic] = field(default_factory=list)
    undecided: Diagnostic | None = None


class Validator:
    """Runs `terraform validate` on batches of programs. Not thread-safe."""

    def __init__(
        self, terraform: Terraform, deadlines: Deadlines = DEADLINES, servers: ProviderServers | None = None
    ) -> None:
        """With `servers`, providers keep running between runs."""
        self._terraform = terraform
        self._deadlines = deadlines
        self._servers = servers

    def validate(self, programs: list[Normalised]) -> list[ValidateOutcome]:
        """Validate programs; outcomes are in the same order. Raises IsolationError if children cannot be confined."""
        runner = Runner(self._terraform, self._deadlines, self._servers, time.monotonic() + self._deadlines.request)
        outcomes: dict[int, ValidateOutcome] = {}
        together: dict[int, Normalised] = {}
        alone: dict[int, Normalised] = {}
        for index, program in enumerate(programs):
            if absent := missing_provider(self._terraform, program.providers):
                outcomes[index] = ValidateOutcome(undecided=absent)
            elif program.alone:
                alone[index] = program
            else:
                together[index] = program
        outcomes |= in_batches(
            together, partial(self._together, runner), partial(self._alone, runner), ways=self._deadlines.ways
        )
        # Last, as each costs a run: many of them must not take the request's time from all others.
        outcomes |= {index: self._alone(runner, index, program) for index, program in alone.items()}
        return [outcomes[index] for index in range(len(programs))]

    def _together(self, runner: Runner, programs: dict[int, Normalised]) -> BatchResult[ValidateOutcome] | None:
        with isolation.private_folder() as root:
            lay_out_batch(root, self._terraform, {f"r{index}": program for index, program in programs.items()})
            reported = _errors(_validate(runner, root, programs))
        if reported is None:
            return None
        errors = [error for error in reported if module_of(error) != CANARY]
        to_run_alone = blamed(errors) & programs.keys()
        if any(module_of(error) is None and not blamed([error]) for error in errors):
            return BatchResult(blamed=to_run_alone) if to_run_alone else None  # an error names no program
        canary_reported, own = len(errors) < len(reported), by_program(errors)
        if not canary_reported:
            # In a run of its own, terraform does not validate the modules of a program that it cannot load.
            to_run_alone |= {index for index in own if programs[index].calls}
        decided = [index for index in programs if index not in to_run_alone and (canary_reported or index in own)]
        return BatchResult(
            {index: ValidateOutcome(diagnostics_of(own.get(index, []))) for index in decided}, to_run_alone
        )

    def _alone(self, runner: Runner, index: int, program: Normalised) -> ValidateOutcome:
        if self._deadlines.shared:
            return ValidateOutcome(undecided=JUDGED_APART)
        with isolation.private_folder() as root:
            lay_out_alone(root, self._terraform, program)
            finished = _validate(runner, root, {index: program})
        errors = _errors(finished)
        if errors is None:
            return ValidateOutcome(undecided=failure_diagnostic(finished))
        return ValidateOutcome([diagnostic_of(error) for error in errors][:MAX_PER_PROGRAM])


def _validate(runner: Runner, root: Path, programs: dict[int, Normalised]) -> isolation.Finished:
    providers = frozenset[str]().union(*(program.needs for program in programs.values()))
    return runner.run(root, VALIDATE, providers, _is_usable, programs=len(programs))


def _is_usable(finished: isolation.Finished) -> bool:
    return _errors(finished) is not None


def _errors(finished: isolation.Finished) -> list[dict[str, Any]] | None:
    if finished.timed_out or finished.flooded:
        return None
    try:
        diagnostics = json.loads(finished.stdout)["diagnostics"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    errors = errors_of(diagnostics)
    return None if has_provider_failure(errors) else errors
