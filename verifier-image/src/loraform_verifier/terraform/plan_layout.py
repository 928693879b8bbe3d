"""Folder layout of a planning run: modules of a generated root, as for Validate, with additions for plans.

A variable without a default gets a value of unknown type that is known only after apply. In `plan`, modules that read
an account depend on a generated resource, which defers their reads; in `test`, overrides give the values.
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
"""It is part of every plan, so a plan without it means that terraform did not start to plan."""
_UNKNOWN = f"${{jsondecode({OUR_RESOURCE}.id)}}"


def lay_out_plan(
    root: Path, terraform: Terraform, programs: Mapping[str, Plannable], settings: ProviderSettings
) -> None:
    """Write `root` for `terraform plan`."""
    _lay_out(root, terraform, programs, settings, defer=True)


def lay_out_test(
    root: Path, terraform: Terraform, programs: Mapping[str, Plannable], settings: ProviderSettings
) -> None:
    """Write `root` for `terraform test`: one planning run with overrides for data sources that read an account."""
    _lay_out(root, terraform, programs, settings, defer=False)
    overrides = [
        {"target": f"module.{key}.{read.address}", "values": _escape_templates(_values(read, settings))}
        for key, program in programs.items()
        for read in program.reads
    ]
    write_json(root / TEST_FILE, {"override_data": overrides, "run": {"plan": {"command": "plan"}}})


def _values(read: DataRead, settings: ProviderSettings) -> dict[str, Any]:
    return {n: value for n, value in values_of(read.type, settings.region).items() if n not in read.arguments}


def _lay_out(
    root: Path,
    terraform: Terraform,
    programs: Mapping[str, Plannable],
    settings: ProviderSettings,
    *,
    defer: bool,
) -> None:
    modules = {key: program.program for key, program in programs.items()}
    generated = lay_out_modules(root, terraform, modules, unknown=_UNKNOWN)
    for key, program in programs.items():
        if defer and program.reads:
            generated["module"][key]["depends_on"] = [OUR_RESOURCE]
        if defer and program.outputs:
            # Terraform checks unmarked sensitive outputs only in a root module, so the generated root checks them.
            names = [output.name for output in program.outputs]
            checks = {f"{key}-{n}": {"value": f"${{issensitive(jsonencode(module.{key}.{n}))}}"} for n in names}
            generated.setdefault("output", {}).update(checks)
    generated["resource"] = {"terraform_data": {UNKNOWN_INPUT: {}}}
    if providers := generated.get("provider"):
        providers["aws"] = [aws | _configuration(settings) for aws in providers["aws"]]
    write_manifest(root, modules)
    write_json(root / OUR_FILE, generated)


def _configuration(settings: ProviderSettings) -> dict[str, Any]:
    # There is no network, so a retry cannot help.
    configuration: dict[str, Any] = {"region": settings.region, "max_retries": 1}
    if settings.default_tags:
        configuration["default_tags"] = [{"tags": _escape_templates(settings.default_tags)}]
    return configuration


def _escape_templates(value: Any) -> Any:
    """Escape template sequences: terraform evaluates strings in JSON files."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, list):
        return [_escape_templates(item) for item in value]
    if isinstance(value, dict):
        return {_escape_templates(key): _escape_templates(item) for key, item in value.items()}
    return value
