"""Runs terraform to plan programs together, and reads what it says: errors, and a plan for each module.

A run is `plan` and `show`, or `test` with a single planning run. The plan file stays in the run's private folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from loraform_verifier.sandbox.isolation import Finished, private_folder
from loraform_verifier.terraform.batch import Runner, module_of, speaks_of_providers
from loraform_verifier.terraform.diagnostics import errors_of
from loraform_verifier.terraform.plan_json import changes_of, split
from loraform_verifier.terraform.plan_layout import OUR_RESOURCE, PLAN_FILE, lay_out_plan, lay_out_test
from loraform_verifier.terraform.plannable import Plannable, ProviderSettings
from loraform_verifier.terraform.toolchain import Terraform

PLAN = ("plan", "-json", "-no-color", "-input=false", "-lock=false", "-refresh=false", f"-out={PLAN_FILE}")
SHOW = ("show", "-json", "-no-color", PLAN_FILE)
ONLY_IN_TEST = "Check block assertion failed"
"""A warning in `plan`."""
TEST = ("test", "-json", "-no-color", "-verbose")


@dataclass(frozen=True, slots=True)
class PlanRun:
    """What one run gave."""

    finished: Finished
    """How its last child ended."""
    errors: list[dict[str, Any]] | None
    """None when the run is no verdict on anyone."""
    plans: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By program; empty when terraform did not come to plan."""
    secrets: dict[int, set[str]] = field(default_factory=dict)
    """Outputs that hold something sensitive, by program."""
    unreadable: bool = False
    """There is a plan, too large or too deeply nested to be read."""


@dataclass(frozen=True, slots=True)
class PlanRuns:
    """Plans programs whose providers are set alike."""

    terraform: Terraform
    runner: Runner
    settings: ProviderSettings

    def plan(self, programs: Mapping[int, Plannable]) -> PlanRun:
        """Plan with the reading of accounts put off. What then fails in programs that read one is no error."""
        with private_folder() as root:
            lay_out_plan(root, self.terraform, _by_key(programs), self.settings)
            finished = self.runner.run(root, PLAN, _providers(programs), _judges, programs=len(programs))
            errors = _errors(finished)
            if errors is None or not (root / PLAN_FILE).exists():
                return PlanRun(finished, errors)
            shown = self.runner.run(root, SHOW, _providers(programs), _shows, programs=len(programs))
        plan = _json(shown)
        if plan is None:
            return PlanRun(shown, None, unreadable=shown.flooded or (shown.returncode == 0 and not shown.timed_out))
        if not any(change["address"] == OUR_RESOURCE for change in plan.get("resource_changes", ())):
            return PlanRun(finished, errors)
        put_off = {f"r{index}" for index, program in programs.items() if program.reads}
        plans = {int(key[1:]): own for key, own in split(plan).items()}
        return PlanRun(finished, [e for e in errors if module_of(e) not in put_off], plans, _secrets(plan))

    def test(self, programs: Mapping[int, Plannable]) -> PlanRun:
        """Plan with values of ours for what an account would be read for; the plans hold the changes alone."""
        with private_folder() as root:
            lay_out_test(root, self.terraform, _by_key(programs), self.settings)
            finished = self.runner.run(root, TEST, _providers(programs), _judges, programs=len(programs))
        errors = _errors(finished)
        plan = next(iter(_messages(finished, "test_plan")), None)
        if errors is None or plan is None:
            return PlanRun(finished, errors or None)
        changes = changes_of(plan)
        return PlanRun(finished, errors, {i: {"resource_changes": changes.get(f"r{i}", [])} for i in programs})


def _secrets(plan: dict[str, Any]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for place, output in plan.get("planned_values", {}).get("outputs", {}).items():
        if output.get("value"):
            key, _, name = place.partition("-")
            found.setdefault(int(key[1:]), set()).add(name)
    return found


def _by_key(programs: Mapping[int, Plannable]) -> dict[str, Plannable]:
    return {f"r{index}": program for index, program in programs.items()}


def _providers(programs: Mapping[int, Plannable]) -> frozenset[str]:
    return frozenset[str]().union(*(p.program.providers for p in programs.values()))


def _messages(finished: Finished, kind: str) -> list[Any]:
    """Return the messages of one type of terraform's machine-readable output; what a crash prints is left out."""
    found = []
    for line in finished.stdout.splitlines():
        if f'"type":"{kind}"'.encode() in line:  # to read every line would cost seconds: one may hold the whole schema
            with suppress(ValueError, RecursionError):
                message = json.loads(line)
                found += [message[kind]] if message.get("type") == kind else []
    return found


def _errors(finished: Finished) -> list[dict[str, Any]] | None:
    if finished.timed_out or finished.flooded:
        return None
    errors = errors_of(_messages(finished, "diagnostic"))
    if speaks_of_providers(errors) or (finished.returncode != 0 and not errors):
        return None
    return [error for error in errors if error.get("summary") != ONLY_IN_TEST]


def _judges(finished: Finished) -> bool:
    return _errors(finished) is not None


def _json(finished: Finished) -> dict[str, Any] | None:
    if finished.timed_out or finished.flooded or finished.returncode != 0:
        return None
    try:
        found = json.loads(finished.stdout)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _shows(finished: Finished) -> bool:
    return _json(finished) is not None
