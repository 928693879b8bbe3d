"""Planning runs of terraform for a batch of programs; each gives errors and a plan for each module.

A run is `plan` and `show`, or `test` with a single planning run. The plan file stays in the run's private folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from loraform_verifier.sandbox.isolation import Finished, private_folder
from loraform_verifier.terraform.batch import Runner, has_provider_failure, module_of
from loraform_verifier.terraform.diagnostics import errors_of
from loraform_verifier.terraform.plan_json import changes_of, split
from loraform_verifier.terraform.plan_layout import OUR_RESOURCE, PLAN_FILE, lay_out_plan, lay_out_test
from loraform_verifier.terraform.plannable import Plannable, ProviderSettings
from loraform_verifier.terraform.toolchain import Terraform

PLAN = ("plan", "-json", "-no-color", "-input=false", "-lock=false", "-refresh=false", f"-out={PLAN_FILE}")
SHOW = ("show", "-json", "-no-color", PLAN_FILE)
ONLY_IN_TEST = "Check block assertion failed"
"""Summary of an error in `test` that is a warning in `plan`."""
TEST = ("test", "-json", "-no-color", "-verbose")


@dataclass(frozen=True, slots=True)
class PlanRun:
    """The result of one run."""

    finished: Finished
    """Its last child process."""
    errors: list[dict[str, Any]] | None
    """None if the run gives no verdict on any program."""
    plans: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Plans by program; empty if terraform did not start to plan."""
    secrets: dict[int, set[str]] = field(default_factory=dict)
    """Names of outputs that hold sensitive values, by program."""
    unreadable: bool = False
    """True if there is a plan that is too large or too deeply nested to be parsed."""


@dataclass(frozen=True, slots=True)
class PlanRuns:
    """Runs for programs with equal provider settings."""

    terraform: Terraform
    runner: Runner
    settings: ProviderSettings

    def plan(self, programs: Mapping[int, Plannable]) -> PlanRun:
        """Plan with reads of accounts deferred. Errors of programs that read one are ignored."""
        with private_folder() as root:
            lay_out_plan(root, self.terraform, _by_key(programs), self.settings)
            finished = self.runner.run(root, PLAN, _providers(programs), _is_usable, programs=len(programs))
            errors = _errors(finished)
            if errors is None or not (root / PLAN_FILE).exists():
                return PlanRun(finished, errors)
            shown = self.runner.run(root, SHOW, _providers(programs), _is_json, programs=len(programs))
        plan = _json(shown)
        if plan is None:
            return PlanRun(shown, None, unreadable=shown.flooded or (shown.returncode == 0 and not shown.timed_out))
        if not any(change["address"] == OUR_RESOURCE for change in plan.get("resource_changes", ())):
            return PlanRun(finished, errors)
        deferred = {f"r{index}" for index, program in programs.items() if program.reads}
        plans = {int(key[1:]): own for key, own in split(plan).items()}
        return PlanRun(finished, [e for e in errors if module_of(e) not in deferred], plans, _secrets(plan))

    def test(self, programs: Mapping[int, Plannable]) -> PlanRun:
        """Plan with fixed values for what would be read from an account; the plans hold only the changes."""
        with private_folder() as root:
            lay_out_test(root, self.terraform, _by_key(programs), self.settings)
            finished = self.runner.run(root, TEST, _providers(programs), _is_usable, programs=len(programs))
        errors = _errors(finished)
        plan = next(iter(_messages(finished, "test_plan")), None)
        if errors is None or plan is None:
            return PlanRun(finished, errors or None)
        changes = changes_of(plan)
        return PlanRun(finished, errors, {i: {"resource_changes": changes.get(f"r{i}", [])} for i in programs})


def _secrets(plan: dict[str, Any]) -> dict[int, set[str]]:
    secrets: dict[int, set[str]] = {}
    for qualified_name, output in plan.get("planned_values", {}).get("outputs", {}).items():
        if output.get("value"):
            key, _, name = qualified_name.partition("-")
            secrets.setdefault(int(key[1:]), set()).add(name)
    return secrets


def _by_key(programs: Mapping[int, Plannable]) -> dict[str, Plannable]:
    return {f"r{index}": program for index, program in programs.items()}


def _providers(programs: Mapping[int, Plannable]) -> frozenset[str]:
    return frozenset[str]().union(*(p.program.providers for p in programs.values()))


def _messages(finished: Finished, kind: str) -> list[Any]:
    """Return the messages of one type in terraform's JSON output; lines that are no JSON are skipped."""
    messages = []
    for line in finished.stdout.splitlines():
        if f'"type":"{kind}"'.encode() in line:  # parsing every line could take seconds: one may hold the whole schema
            with suppress(ValueError, RecursionError):
                message = json.loads(line)
                messages += [message[kind]] if message.get("type") == kind else []
    return messages


def _errors(finished: Finished) -> list[dict[str, Any]] | None:
    if finished.timed_out or finished.flooded:
        return None
    errors = errors_of(_messages(finished, "diagnostic"))
    if has_provider_failure(errors) or (finished.returncode != 0 and not errors):
        return None
    return [error for error in errors if error.get("summary") != ONLY_IN_TEST]


def _is_usable(finished: Finished) -> bool:
    return _errors(finished) is not None


def _json(finished: Finished) -> dict[str, Any] | None:
    if finished.timed_out or finished.flooded or finished.returncode != 0:
        return None
    try:
        document = json.loads(finished.stdout)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _is_json(finished: Finished) -> bool:
    return _json(finished) is not None
