"""The Plan stage: plans without a cloud, hundreds of programs in one run, with the JSON plan of a separate run.

Programs with equal provider settings run together. Terraform continues after a failed module, so one run gives the
plans of all valid programs and the errors of the others. Programs that read an account are planned twice: once with the
reads deferred, for their configuration, and once by `terraform test`, which overrides the values that would be read.
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
    JUDGED_APART,
    BatchResult,
    Deadlines,
    Runner,
    blamed,
    by_program,
    diagnostics_of,
    failure_diagnostic,
    in_batches,
    missing_provider,
    module_of,
)
from loraform_verifier.terraform.plan_json import as_json, with_changes, without_keys
from loraform_verifier.terraform.plan_run import PlanRun, PlanRuns
from loraform_verifier.terraform.plannable import Output, Plannable
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform

TERRAFORM = "Terraform"
"""Product whose overrides are for single module instances; OpenTofu's apply to all instances of a module."""
INSTANCE_ERRORS = {"Invalid count argument", "Invalid for_each argument"}
_FROM_INPUT = re.compile(r"\b(?:var|local|module|data|each)\.")
MAX_PLAN = 4 * 1024 * 1024
"""Bytes of one program's plan; 200 virtual machines take a fifth of it. A request's plans are in memory together."""
RunOf = Callable[[Mapping[int, Plannable]], PlanRun]
_NO_NETWORK = re.compile(r"\bsocket: operation not permitted\b")


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """The plan of one program or its errors; `undecided` says why there is neither."""

    plan_json: bytes | None = None
    """The plan in JSON."""
    errors: list[Diagnostic] = field(default_factory=list)
    undecided: Diagnostic | None = None

    @property
    def plan(self) -> dict[str, Any] | None:
        """The parsed plan; parsed again on each access."""
        return None if self.plan_json is None else dict(json.loads(self.plan_json))


class Planner:
    """Plans batches of programs. Not thread-safe."""

    def __init__(
        self, terraform: Terraform, deadlines: Deadlines = DEADLINES, servers: ProviderServers | None = None
    ) -> None:
        """Without `servers`, providers keep running only between the runs of one call."""
        self._terraform = terraform
        self._deadlines = deadlines
        self._servers = servers

    def plan(self, programs: list[Plannable]) -> list[PlanOutcome]:
        """Plan programs; outcomes are in the same order. Raises IsolationError if children cannot be confined."""
        until = time.monotonic() + self._deadlines.request
        outcomes: dict[int, PlanOutcome] = {}
        groups: dict[object, dict[int, Plannable]] = {}
        for index, program in enumerate(programs):
            if absent := missing_provider(self._terraform, program.program.providers):
                outcomes[index] = PlanOutcome(undecided=absent)
            else:
                groups.setdefault(program.settings.key, {})[index] = program
        # Without servers, `terraform plan` starts a provider three times.
        with nullcontext(self._servers) if self._servers else ProviderServers(self._terraform) as servers:
            runner = Runner(self._terraform, self._deadlines, servers, until)
            for group in groups.values():
                settings = next(iter(group.values())).settings
                outcomes |= self._plan_group(PlanRuns(self._terraform, runner, settings), group)
        return [outcomes[index] for index in range(len(programs))]

    def _plan_group(self, runs: PlanRuns, programs: dict[int, Plannable]) -> dict[int, PlanOutcome]:
        """Plan programs with equal provider settings."""
        outcomes = self._in_batches(runs.plan, programs)
        reading = {i: p for i, p in programs.items() if p.reads and outcomes[i].plan_json is not None}
        if runs.terraform.product == TERRAFORM:
            reading = {i: _at_instances(p, outcomes[i].plan or {}) for i, p in reading.items()}
        read = self._in_batches(runs.test, reading)
        return outcomes | {index: _merged(outcomes[index], outcome) for index, outcome in read.items()}

    def _in_batches(self, run_of: RunOf, programs: dict[int, Plannable]) -> dict[int, PlanOutcome]:
        alone = _judged_apart if self._deadlines.shared else partial(_alone, run_of)
        return in_batches(programs, partial(_together, run_of), alone, ways=self._deadlines.ways)


def _at_instances(program: Plannable, deferred: dict[str, Any]) -> Plannable:
    """Add reads in the instances of modules, which terraform overrides only by their full address."""
    reads = {read.address: read for read in program.reads}
    for change in deferred["resource_changes"]:
        address = f"{change.get('module_address', '')}.data.{change['type']}.{change['name']}".lstrip(".")
        read = reads.get(without_keys(address)) if change["mode"] == "data" else None
        if read is not None:
            reads[address] = replace(read, address=address)
    return replace(program, reads=tuple(reads.values()))


def _merged(deferred: PlanOutcome, read: PlanOutcome) -> PlanOutcome:
    """Combine both plans of a program that reads an account: `test` gives the changes, `plan` the configuration."""
    plan, changed = deferred.plan, read.plan
    return _plan_outcome(with_changes(plan, changed["resource_changes"])) if plan and changed else read


def _plan_outcome(plan: dict[str, Any]) -> PlanOutcome:
    """Return the outcome with a plan, or an undecided one if the plan is too large."""
    with suppress(RecursionError):
        if len(plan_json := as_json(plan)) <= MAX_PLAN:
            return PlanOutcome(plan_json)
    return PlanOutcome(undecided=_too_large())


def _too_large() -> Diagnostic:
    message = f"The plan is larger than {MAX_PLAN >> 20} MiB or nested too deeply."
    return Diagnostic(code="PlanTooLarge", message=message, hint="Shorten loops and values.")


def _together(run_of: RunOf, programs: dict[int, Plannable]) -> BatchResult[PlanOutcome] | None:
    run = run_of(programs)
    if run.errors is None:
        return None
    to_run_alone = blamed(run.errors) & programs.keys()
    if any(module_of(error) is None and not blamed([error]) for error in run.errors):
        return BatchResult(blamed=to_run_alone) if to_run_alone else None  # an error names no program
    own = by_program(run.errors)
    outcomes = {
        i: _outcome(run, i, program, own.get(i, [])) for i, program in programs.items() if i not in to_run_alone
    }
    return BatchResult({index: outcome for index, outcome in outcomes.items() if outcome is not None}, to_run_alone)


def _judged_apart(_index: int, _program: Plannable) -> PlanOutcome:
    return PlanOutcome(undecided=JUDGED_APART)


def _alone(run_of: RunOf, index: int, program: Plannable) -> PlanOutcome:
    run = run_of({index: program})
    outcome = _outcome(run, index, program, run.errors) if run.errors is not None else None
    return outcome or PlanOutcome(undecided=_too_large() if run.unreadable else failure_diagnostic(run.finished))


def _outcome(run: PlanRun, index: int, program: Plannable, errors: Sequence[dict[str, Any]]) -> PlanOutcome | None:
    """Return the outcome of one program in a run; None if the run did not plan it."""
    leaks = [_sensitive_output(output) for output in program.outputs if output.name in run.secrets.get(index, ())]
    if not errors and not leaks:
        return _plan_outcome(run.plans[index]) if index in run.plans else None
    excuses = [_excuse(error, program) for error in errors]
    hard = [error for error, excuse in zip(errors, excuses, strict=True) if excuse is None]
    if hard or leaks:
        return PlanOutcome(errors=diagnostics_of(hard) + leaks)
    code, hint = next(excuse for excuse in excuses if excuse)
    return PlanOutcome(undecided=diagnostics_of(errors)[0].model_copy(update={"code": code, "hint": hint}))


def _sensitive_output(output: Output) -> Diagnostic:
    """Return terraform's error for a root module's output that holds a sensitive value without `sensitive = true`."""
    message = "Output refers to sensitive values: a root module's output of something sensitive must be marked so."
    hint = "Add `sensitive = true` to the output."
    return Diagnostic(
        code="OutputRefersToSensitiveValues", message=message, hint=hint, file=output.file, line=output.line
    )


def _excuse(error: dict[str, Any], program: Plannable) -> tuple[str, str] | None:
    """Return code and hint if an error is caused by planning without an account or inputs, not by the program."""
    # Errors of providers have an address; without one, the text may come from a condition of the program.
    if error.get("address") and _NO_NETWORK.search(f"{error.get('summary')} {error.get('detail')}"):
        return "NeedsNetwork", "This reads an account; programs are planned without one."
    expression = str((error.get("snippet") or {}).get("code", ""))
    if error.get("summary") in INSTANCE_ERRORS and program.program.inputs and _FROM_INPUT.search(expression):
        return "DependsOnInput", "Set defaults for the variables that `count` or `for_each` uses."
    return None
