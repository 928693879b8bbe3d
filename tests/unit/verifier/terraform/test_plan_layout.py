"""The generated root module of a planning run: its resource, provider settings and overrides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loraform_verifier.hcl.configuration import single_file
from loraform_verifier.hcl.normalise import normalise
from loraform_verifier.terraform.plan_layout import lay_out_plan, lay_out_test
from loraform_verifier.terraform.plannable import Plannable, ProviderSettings, plannable
from loraform_verifier.terraform.toolchain import Provider, Terraform

READING = 'data "aws_vpc" "d" {\n  default = true\n  id = "vpc-1"\n}\nvariable "size" {\n}\n'
PLAIN = 'resource "aws_vpc" "a" {\n}\n'


def programs(tmp_path: Path) -> tuple[Terraform, dict[str, Plannable]]:
    (tmp_path / "linux_amd64").mkdir()
    provider = Provider("hashicorp", "aws", "5.100.0", tmp_path / "linux_amd64")
    described = {
        key: plannable(single_file(text), normalise(single_file(text)))
        for key, text in (("r0", READING), ("r1", PLAIN))
    }
    return Terraform(Path("terraform"), "Terraform", "1.11.4", (provider,)), described


def root_of(tmp_path: Path, settings: ProviderSettings) -> dict[str, Any]:
    terraform, described = programs(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    lay_out_plan(root, terraform, described, settings)
    found: dict[str, Any] = json.loads((root / "loraform.tf.json").read_text())
    return found


def test_inputs_are_unknown_and_only_reading_modules_depend_on_the_resource(tmp_path: Path) -> None:
    modules = root_of(tmp_path, ProviderSettings())["module"]
    assert modules == {
        "r0": {
            "source": "./r0",
            "size": "${jsondecode(terraform_data.unknown.id)}",
            "depends_on": ["terraform_data.unknown"],
        },
        "r1": {"source": "./r1"},
    }


def test_the_provider_has_the_groups_settings_with_escaped_templates(tmp_path: Path) -> None:
    (aws,) = root_of(tmp_path, ProviderSettings("eu-west-1", {"${a}": '%{b}${file("c")}'}))["provider"]["aws"]
    assert aws["region"] == "eu-west-1"
    assert aws["default_tags"] == [{"tags": {"$${a}": '%%{b}$${file("c")}'}}]
    assert aws["skip_credentials_validation"] is True


def test_overrides_cover_only_attributes_that_the_program_does_not_set(tmp_path: Path) -> None:
    terraform, described = programs(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    lay_out_test(root, terraform, described, ProviderSettings())
    test = json.loads((root / "loraform.tftest.json").read_text())
    (override,) = test["override_data"]
    assert test["run"] == {"plan": {"command": "plan"}}
    assert override["target"] == "module.r0.data.aws_vpc.d"
    assert override["values"]["cidr_block"] == "10.0.0.0/16"
    assert "id" not in override["values"]
    assert "depends_on" not in json.loads((root / "loraform.tf.json").read_text())["module"]["r0"]
