"""Policy packs end to end: the example's ConfigMap and a real plan, by request and from the verifier's start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from loraform_api.verification import Program, ProgramVerdict, Stage, VerifyRequest
from loraform_cli.inputs import read_policy
from loraform_verifier.terraform.batch import JUDGED_APART, SHARED
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/policy"
PACK = yaml.safe_load((EXAMPLE / "house-rules.yaml").read_text())["data"]["cost.rego"]
POLICY = read_policy(EXAMPLE / "iacmodel.yaml")
STAGES = [Stage.PARSE, Stage.VALIDATE, Stage.PLAN, Stage.POLICY]
PROVIDER = 'provider "aws" {\n  default_tags {\n    tags = { owner = "me", created_by = "PiCloud" }\n  }\n}\n'
COMMENT = "# This resource is generated using PiCloud tool\n"
INSTANCE = COMMENT + 'resource "aws_instance" "web" {\n  ami           = "ami-12345678"\n  instance_type = "%s"\n}\n'


@pytest.fixture(scope="module")
def keeper(terraform: Terraform) -> Iterator[ProviderServers]:
    with ProviderServers(terraform) as keeper:
        yield keeper


def judged(verifier: Verifier, texts: dict[str, str], *packs: str) -> dict[str, ProgramVerdict]:
    programs = [Program(id=name, text=PROVIDER + text) for name, text in texts.items()]
    request = VerifyRequest(programs=programs, stages=STAGES, policy=POLICY, packs=list(packs))
    return {verdict.id: verdict for verdict in verifier.verify(request).verdicts}


@pytest.mark.parametrize("started_with", [True, False], ids=["started with it", "asked with it"])
def test_a_pack_finds_what_it_denies(terraform: Terraform, keeper: ProviderServers, started_with: bool) -> None:
    verifier = Verifier(terraform, servers=keeper, packs={"cost": PACK} if started_with else {})
    packs = [] if started_with else [PACK]
    key = COMMENT + 'resource "aws_iam_access_key" "k" {\n  user = "u"\n}\n'
    texts = {"small": INSTANCE % "t3.micro", "large": INSTANCE % "m5.24xlarge", "key": key}
    verdicts = judged(verifier, texts, *packs)
    assert verdicts["small"].passed
    (found,) = verdicts["large"].stages[-1].diagnostics
    assert (found.code, found.line, found.file) == ("InstanceTooLarge", 7, "main.tf")
    assert found.message == "aws_instance.web: instance type m5.24xlarge needs an approval"
    assert [d.code for d in verdicts["key"].stages[-1].diagnostics] == ["PolicyDenied"]


def test_a_warning_is_shown_and_fails_nothing(terraform: Terraform, keeper: ProviderServers) -> None:
    pack = 'package main\n\nimport rego.v1\n\nwarn contains {"msg": "old", "resource": "aws_instance.web"}\n'
    verdict = judged(Verifier(terraform, servers=keeper), {"old": INSTANCE % "t3.micro"}, pack)["old"]
    assert verdict.passed
    assert [(d.code, d.message, d.line) for d in verdict.stages[-1].diagnostics] == [
        ("PolicyPack", "aws_instance.web: old", 7)
    ]


SLOW_PACK = """package main

import rego.v1

deny contains "never" if {
	some resource in input.planned_values.root_module.resources
	n := to_number(resource.values.input)
	count([1 | some i in numbers.range(1, n); some j in numbers.range(1, n); i + j == 0]) > 0
}
"""


def test_a_plan_on_which_a_pack_hangs_leaves_those_of_other_callers_to_be_judged_apart(terraform: Terraform) -> None:
    """A pack is given up after two plans without an answer, so the third has none either: it is no caller's fault."""
    verifier = Verifier(terraform, deadlines=replace(SHARED, run=20, policy=0.3))
    hangs, quick = (f'resource "terraform_data" "a" {{\n  input = "{n}"\n}}\n' for n in (100_000, 2))
    programs = [Program(id=str(n), text=text) for n, text in enumerate((hangs, f"# again\n{hangs}", quick))]
    verdicts = verifier.verify(VerifyRequest(programs=programs, stages=STAGES, packs=[SLOW_PACK])).verdicts
    assert [verdict.stages[-1].diagnostics for verdict in verdicts[:2]] == [[JUDGED_APART]] * 2
    assert verdicts[2].passed or verdicts[2].stages[-1].diagnostics == [JUDGED_APART]
