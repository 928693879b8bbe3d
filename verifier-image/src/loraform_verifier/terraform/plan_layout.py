"""Lays programs out for one planning run: modules of a root of ours, as for Validate, with what a plan needs more.

A variable without a default gets a value of no known type that is known after apply only. Modules that read an
account wait for our one resource, so that `plan` puts their reading off; in `test` they get values from us instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loraform_verifier.terraform.data_sources import values_of
from loraform_verifier.terraform.diagnostics import OUR_FILE
from loraform_verifier.terraform.plannable import DataRead, Plannable, ProviderSettings
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.workspace import UNKNOWN_INPUT, lay_out_modules, write_json, write_manifest

PLAN_FILE = "plan.bin"
TEST_FILE = "loraform.tftest.json"
OUR_RESOURCE = f"terraform_data.{UNKNOWN_INPUT}"
"""It is planned whenever terraform comes to plan anything, and so tells that it did."""
_UNKNOWN = f"${{jsondecode({OUR_RESOURCE}.id)}}"


def lay_out_plan(
    root: Path, terraform: Terraform, programs: Mapping[str, Plannable], settings: ProviderSettings
) -> None:
    """Write `root` for `terraform plan`."""
    _lay_out(root, terraform, programs, settings, waiting=True)


def lay_out_test(
    root: Path, terraform: Terraform, programs: Mapping[str, Plannable], settings: ProviderSettings
) -> None:
    """Write `root` for `terraform test`: a single planning run in which data that need an account have our values."""
    _lay_out(root, terraform, programs, settings, waiting=False)
    overrides = [
        {"target": f"module.{key}.{read.address}", "values": _inert(_values(read, settings))}
        for key, program in programs.items()
        for read in program.reads
    ]
    write_json(root / TEST_FILE, {"override_data": overrides, "run": {"plan": {"command": "plan"}}})


def _values(read: DataRead, settings: ProviderSettings) -> dict[str, Any]:
    return {n: value for n, value in values_of(read.type, settings.region).items() if n not in read.given}


def _lay_out(
    root: Path, terraform: Terraform, programs: Mapping[str, Plannable], settings: ProviderSettings, *, waiting: bool
) -> None:
    modules = {key: program.program for key, program in programs.items()}
    ours = lay_out_modules(root, terraform, modules, unknown=_UNKNOWN)
    for key, program in programs.items():
        if waiting and program.reads:
            ours["module"][key]["depends_on"] = [OUR_RESOURCE]
        if waiting and program.outputs:
            # Only a root module may not give out secrets unmarked: we must ask where terraform does not.
            asked = {o.name: f"${{issensitive(jsonencode(module.{key}.{o.name}))}}" for o in program.outputs}
            ours.setdefault("output", {}).update({f"{key}-{name}": {"value": value} for name, value in asked.items()})
    ours["resource"] = {"terraform_data": {UNKNOWN_INPUT: {}}}
    if providers := ours.get("provider"):
        providers["aws"] = [aws | _configuration(settings) for aws in providers["aws"]]
    write_manifest(root, modules)
    write_json(root / OUR_FILE, ours)


def _configuration(settings: ProviderSettings) -> dict[str, Any]:
    # There is no network; to try once is enough.
    found: dict[str, Any] = {"region": settings.region, "max_retries": 1}
    return found | ({"default_tags": [{"tags": _inert(settings.default_tags)}]} if settings.default_tags else {})


def _inert(value: Any) -> Any:
    """Return a value in which terraform sees no templates: strings in its JSON are evaluated."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, list):
        return [_inert(item) for item in value]
    if isinstance(value, dict):
        return {_inert(key): _inert(item) for key, item in value.items()}
    return value
