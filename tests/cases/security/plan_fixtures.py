"""Writes each rule's fixture, `pass.json` or `fail.json`, from the plan of the program beside it.

    python tests/cases/security/plan_fixtures.py

Only the part that the rules read is kept: changes of managed resources, and arguments of the configuration.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loraform_verifier.hcl.configuration import single_file
from loraform_verifier.hcl.normalise import normalise
from loraform_verifier.terraform.plan import Planner
from loraform_verifier.terraform.plannable import plannable
from loraform_verifier.terraform.toolchain import Terraform, discover

HERE = Path(__file__).parent


def trimmed(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a plan that the rules read; they treat a null or empty argument as missing."""
    changes = [
        {name: change[name] for name in ("address", "mode", "type", "name")}
        | {"change": {name: _set(change["change"][name]) for name in ("after", "after_unknown")}}
        for change in plan["resource_changes"]
        if change["mode"] == "managed"
    ]
    resources = [
        {name: resource[name] for name in ("mode", "type", "name", "expressions") if name in resource}
        for resource in plan["configuration"]["root_module"].get("resources", [])
        if resource["mode"] == "managed"
    ]
    return {"resource_changes": changes, "configuration": {"root_module": {"resources": resources}}}


def _set(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value not in (None, [], {})}


def planned(terraform: Terraform) -> dict[Path, dict[str, Any]]:
    """Plan every program beside the fixtures, and return the trimmed plans by the fixture's path."""
    programs = sorted(HERE.glob("*/*.tf"))
    configurations = [single_file(program.read_text()) for program in programs]
    outcomes = Planner(terraform).plan([plannable(c, normalise(c)) for c in configurations])
    found = {}
    for program, outcome in zip(programs, outcomes, strict=True):
        if outcome.plan is None:
            raise RuntimeError(f"{program.relative_to(HERE)} cannot be planned: {outcome.errors or outcome.undecided}")
        found[program.with_suffix(".json")] = trimmed(outcome.plan)
    return found


if __name__ == "__main__":
    for path, plan in planned(discover()).items():
        path.write_text(json.dumps(plan, indent=1, sort_keys=True) + "\n")
