"""Plans programs without a cloud, hundreds in one run, each with the JSON plan that it would have alone.

Programs whose providers are set alike run together. Terraform plans on where a module fails, so one run gives the
plans of all that are sound and the errors of all others. Programs that read an account are planned twice: once with
the reading put off, for their configuration, and once by `terraform test`, which fills in what would be read.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from loraform_api.verification import Diagnostic
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
)
from loraform_verifier.terraform.plan_json import as_json, with_changes, without_keys
from loraform_verifier.terraform.plan_run import PlanRun, PlanRuns
from loraform_verifier.terraform.plannable import Output, Plannable
from loraform_verifier.terraform.provider_server import ProviderKeeper
from loraform_verifier.terraform.toolchain import Terraform

TERRAFORM = "Terraform"
"""OpenTofu gives an override to all instances of a module, and refuses one for a single instance."""
INSTANCES = {"Invalid count argument", "Invalid for_each argument"}
_FROM_INPUT = re.compile(r"\b(?:var|local|module|data|each)\.")
MAX_PLAN = 4 * 1024 * 1024
"""Bytes of one program's plan; 200 virtual machines make a fifth of it. Those of all rows are in memory at once."""
_NO_NETWORK = re.compile(r"\bsocket: operation not permitted\b")


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """The plan of one program or what keeps it from being planned; `undecided` says why neither could be had."""

    written: bytes | None = None
    """The plan in JSON."""
    errors: list[Diagnostic] = field(default_factory=list)
    undecided: Diagnostic | None = None

    @property
    def plan(self) -> dict[str, Any] | None:
        """The plan, read anew each time."""
        return None if self.written is None else dict(json.loads(self.written))


class Planner:
    """Plans batches with one toolchain."""

    def __init__(
        self, terraform: Terraform, deadlines: Deadlines = DEADLINES, keeper: ProviderKeeper | None = None
    ) -> None:
        """Without a `keeper`, providers live on between the runs of one call. Not for several threads at once."""
        self._terraform = terraform
        self._deadlines = deadlines
        self._keeper = keeper

    def plan(self, programs: list[Plannable]) -> list[PlanOutcome]:
        """Plan programs; outcomes come in the same order. Raises IsolationError where children cannot be confined."""
        until = time.monotonic() + self._deadlines.request
        outcomes: dict[int, PlanOutcome] = {}
        groups: dict[object, dict[int, Plannable]] = {}
        for index, program in enumerate(programs):
            if absent := missing_provider(self._terraform, program.program.providers):
                outcomes[index] = PlanOutcome(undecided=absent)
            else:
                groups.setdefault(program.settings.key, {})[index] = program
        # `terraform plan` alone would start a provider three times.
        with nullcontext(self._keeper) if self._keeper else ProviderKeeper(self._terraform) as keeper:
            runner = Runner(self._terraform, self._deadlines, keeper, until)
            for group in groups.values():
                settings = next(iter(group.values())).settings
                outcomes |= _planned(PlanRuns(self._terraform, runner, settings), group)
        return [outcomes[index] for index in range(len(programs))]


def _planned(runs: PlanRuns, programs: dict[int, Plannable]) -> dict[int, PlanOutcome]:
    """Plan programs whose providers are set alike."""
    outcomes = in_batches(programs, partial(_together, runs.plan), partial(_alone, runs.plan))
    reading = {i: p for i, p in programs.items() if p.reads and outcomes[i].written is not None}
    if runs.terraform.product == TERRAFORM:
        reading = {i: _at_instances(p, outcomes[i].plan or {}) for i, p in reading.items()}
    read = in_batches(reading, partial(_together, runs.test), partial(_alone, runs.test))
    return outcomes | {index: _merged(outcomes[index], outcome) for index, outcome in read.items()}


def _at_instances(program: Plannable, put_off: dict[str, Any]) -> Plannable:
    """Return a program whose reads also name the instances of modules: terraform gives values to no others."""
    found = {read.address: read for read in program.reads}
    for change in put_off["resource_changes"]:
        address = f"{change.get('module_address', '')}.data.{change['type']}.{change['name']}".lstrip(".")
        read = found.get(without_keys(address)) if change["mode"] == "data" else None
        if read is not None:
            found[address] = replace(read, address=address)
    return replace(program, reads=tuple(found.values()))


def _merged(put_off: PlanOutcome, read: PlanOutcome) -> PlanOutcome:
    """Return what a program that reads an account comes to: `test` tells all but the configuration."""
    plan, changed = put_off.plan, read.plan
    return _kept(with_changes(plan, changed["resource_changes"])) if plan and changed else read


def _kept(plan: dict[str, Any]) -> PlanOutcome:
    """Return the outcome that a plan is, unless it is too much of one."""
    with suppress(RecursionError):
        if len(written := as_json(plan)) <= MAX_PLAN:
            return PlanOutcome(written)
    return PlanOutcome(undecided=_too_large())


def _too_large() -> Diagnostic:
    message = f"The plan has more than {MAX_PLAN >> 20} MiB, or is nested too deeply to be read."
    return Diagnostic(code="PlanTooLarge", message=message, hint="Shorten loops and values.")


def _together(
    run_of: Callable[[Mapping[int, Plannable]], PlanRun], programs: dict[int, Plannable]
) -> Round[PlanOutcome] | None:
    run = run_of(programs)
    if run.errors is None:
        return None
    guilty = blamed(run.errors) & programs.keys()
    if any(module_of(error) is None and not blamed([error]) for error in run.errors):
        return Round(blamed=guilty) if guilty else None  # some error may be anyone's
    own = by_program(run.errors)
    outcomes = {i: _outcome(run, i, program, own.get(i, [])) for i, program in programs.items() if i not in guilty}
    return Round({index: outcome for index, outcome in outcomes.items() if outcome is not None}, guilty)


def _alone(run_of: Callable[[Mapping[int, Plannable]], PlanRun], index: int, program: Plannable) -> PlanOutcome:
    run = run_of({index: program})
    outcome = _outcome(run, index, program, run.errors) if run.errors is not None else None
    return outcome or PlanOutcome(undecided=_too_large() if run.unreadable else no_verdict(run.finished))


def _outcome(run: PlanRun, index: int, program: Plannable, errors: Sequence[dict[str, Any]]) -> PlanOutcome | None:
    """Return what a run says of one program; None when it did not come to it."""
    given_out = [_given_out(output) for output in program.outputs if output.name in run.secrets.get(index, ())]
    if not errors and not given_out:
        return _kept(run.plans[index]) if index in run.plans else None
    excuses = [_excuse(error, program) for error in errors]
    hard = [error for error, excuse in zip(errors, excuses, strict=True) if excuse is None]
    if hard or given_out:
        return PlanOutcome(errors=diagnostics_of(hard) + given_out)
    code, hint = next(excuse for excuse in excuses if excuse)
    return PlanOutcome(undecided=diagnostics_of(errors)[0].model_copy(update={"code": code, "hint": hint}))


def _given_out(output: Output) -> Diagnostic:
    """Return what terraform says of a root module that gives out a secret unmarked."""
    message = "Output refers to sensitive values: a root module's output of something sensitive must be marked so."
    hint = "Add `sensitive = true` to the output."
    return Diagnostic(
        code="OutputRefersToSensitiveValues", message=message, hint=hint, file=output.file, line=output.line
    )


def _excuse(error: dict[str, Any], program: Plannable) -> tuple[str, str] | None:
    """Return the code and hint of an error that only our setting causes."""
    # Providers speak of a resource; without one the words may be the program's, of a condition of its own.
    if error.get("address") and _NO_NETWORK.search(f"{error.get('summary')} {error.get('detail')}"):
        return "NeedsNetwork", "This reads an account; programs are planned without one."
    expression = str((error.get("snippet") or {}).get("code", ""))
    if error.get("summary") in INSTANCES and program.program.inputs and _FROM_INPUT.search(expression):
        return "DependsOnInput", "Give the variables that decide on instances a default."
    return None
