"""Records what lone terraform says of each program: `python -m tests.integration.agreement.record`.

Programs that have not changed since they were recorded with the same versions are left as they are, unless `--all`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from loraform_api.verification import Program
from loraform_verifier.hcl.configuration import read_program
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.hcl.normalise import normalise
from loraform_verifier.terraform.plannable import Plannable, plannable
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform, discover

from . import verdicts
from .lone import Verdict, planned, ready, validated
from .programs import programs

RECORD = Path(__file__).parent / "verdicts.jsonl"


def digest(program: Program) -> str:
    """Return one word for a program's texts."""
    text = json.dumps([program.text, program.files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def toolchain(terraform: Terraform) -> dict[str, Any]:
    """Return the versions that verdicts hold for."""
    return {
        "terraform": terraform.version,
        "providers": {"hashicorp/aws": terraform.provenance().providers["hashicorp/aws"]},
    }


def recorded() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the versions of the record, and its entries by id."""
    versions, *entries = (json.loads(line) for line in RECORD.read_text(encoding="utf-8").splitlines())
    return versions, {entry["id"]: entry for entry in entries}


def verdict_of(entry: dict[str, Any], stage: str) -> Verdict:
    """Return a recorded verdict: of `validate`, or of `plan`."""
    return Verdict({(file, line, summary) for file, line, summary in entry[stage]}, entry.get("changes"))


def to_plan(program: Program, terraform: Terraform) -> Plannable:
    """Return a program as the planner is given it."""
    configuration = read_program(program)
    modules = modules_of(configuration, terraform.registry, None)
    return plannable(configuration, normalise(configuration, modules), modules)


def judged(program: Program, terraform: Terraform, keeper: ProviderServers) -> dict[str, Any]:
    """Return the entry of one program: `plan` is asked where it is valid, reads no account and needs no input.

    The policy and the intent are asked of that plan.
    """
    made = ready(program, terraform)
    validity = validated(made, terraform, keeper)
    entry: dict[str, Any] = {"id": program.id, "program": digest(program), "validate": _listed(validity)}
    if validity.valid and not made.inputs and not to_plan(program, terraform).reads:
        plan = planned(made, to_plan(program, terraform).settings, terraform, keeper)
        entry |= {"plan": _listed(plan)}
        if plan.plan is not None:
            entry |= {"changes": plan.changes} | verdicts.judged([program], [plan.plan])[0]
    return entry


def _listed(verdict: Verdict) -> list[list[Any]]:
    return sorted(([*place] for place in verdict.errors), key=str)


def main() -> None:
    """Record, and print how far it came."""
    parser = argparse.ArgumentParser(description="Record what lone terraform says of each program.")
    parser.add_argument("--all", action="store_true", help="judge again what has not changed")
    terraform = discover()
    versions: dict[str, Any] = toolchain(terraform)
    known: dict[str, dict[str, Any]] = {}
    if RECORD.exists() and not parser.parse_args().all:
        then, entries = recorded()
        known = entries if then == versions else {}
    wanted = programs()
    lines = [json.dumps(versions)]
    try:
        with ProviderServers(terraform) as keeper:
            for number, program in enumerate(wanted, 1):
                entry = known.get(program.id)
                if (
                    entry is None
                    or entry["program"] != digest(program)
                    or ("changes" in entry and "policy" not in entry)
                ):
                    entry = judged(program, terraform, keeper)
                    print(f"{number}/{len(wanted)} {program.id}: {len(entry['validate'])} errors", flush=True)
                lines.append(json.dumps(entry, ensure_ascii=False))
    finally:  # what was judged is kept, for the next start
        RECORD.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
