"""Batches against the real terraform: each program gets the verdict that it gets alone, whatever its neighbours do."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from loraform_api.verification import Diagnostic, Program, Stage, VerifyRequest
from loraform_verifier.hcl.configuration import single_file
from loraform_verifier.hcl.normalise import Normalised, normalise
from loraform_verifier.terraform.batch import Deadlines
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import ValidateOutcome, Validator
from loraform_verifier.verify import Verifier

VPC = 'resource "aws_vpc" "a" {\n  cidr_block = "10.0.0.0/16"\n}\n'
SECRET = 'variable "p" {\n  sensitive = true\n}\n'
HANG = """locals {
  a = [for x in range(1024) : [for y in range(1024) : x]]
  b = [for x in flatten(local.a) : [for y in flatten(local.a) : x]]
  c = [for x in flatten(local.b) : [for y in flatten(local.b) : x]]
}
"""
Case = tuple[str, set[tuple[int | None, str]]]
"""A program, and the lines and codes of its errors."""
# Programs whose errors Terraform finds in different phases: while loading, building the graph, judging.
CASES: dict[str, Case] = {
    "valid": (VPC, set()),
    "no resource": ("locals {\n}\n", set()),
    "argument": (VPC.replace("cidr_block", "cidr_blok"), {(2, "UnsupportedArgument")}),
    "reference": (VPC.replace('"10.0.0.0/16"', "local.x"), {(2, "ReferenceToUndeclaredLocalValue")}),
    "type": (VPC.replace("aws_vpc", "aws_vpcc"), {(1, "InvalidResourceType")}),
    "duplicate": (VPC + VPC, {(4, "DuplicateResourceConfiguration")}),
    "cycle": ("locals {\n  a = local.b\n  b = local.a\n}\n", {(None, "Cycle")}),
    "undeclared alias": (
        VPC.replace("cidr", "provider = aws.west\n  cidr"),
        {(None, "ProviderConfigurationNotPresent")},
    ),
    "alias": ('provider "aws" {\n  alias = "west"\n}\n' + VPC.replace("cidr", "provider = aws.west\n  cidr"), set()),
    "input": ('variable "c" {\n  type = string\n}\n' + VPC.replace('"10.0.0.0/16"', "var.c"), set()),
    "reserved input": ('variable "source" {\n}\n', {(1, "InvalidVariableName")}),
    "variable type": ('variable "c" {\n  type = strin\n}\n', {(2, "InvalidTypeSpecification")}),
    "sensitive output": (SECRET + 'output "x" {\n  value = var.p\n}\n', {(4, "OutputRefersToSensitiveValues")}),
    "marked output": (SECRET + 'output "x" {\n  value = var.p\n  sensitive = true\n}\n', set()),
    "output without value": ('output "x" {\n}\n', {(1, "MissingRequiredArgument")}),
    "unknown block": ('resourc "aws_vpc" "a" {\n}\n', {(1, "UnsupportedBlockType")}),
    "one label": ('resource "aws_vpc" {\n}\n', {(1, "MissingNameForResource")}),
    "lifecycle": (
        VPC.replace("cidr", "lifecycle {\n    prevent_destory = true\n  }\n  cidr"),
        {(3, "UnsupportedArgument")},
    ),
    "provider's own check": (VPC.replace("/16", "/99"), {(2, "InvalidValue")}),
    "function": ("locals {\n  a = nofunc(1)\n}\n", {(2, "CallToUnknownFunction")}),
    "attribute": (VPC + 'output "o" {\n  value = aws_vpc.a.nope\n}\n', {(5, "UnsupportedAttribute")}),
    "provider's argument": ('provider "aws" {\n  nope = 1\n}\n' + VPC, {(2, "UnsupportedArgument")}),
    "argument of a provider that nobody uses": ('provider "aws" {\n  nope = 1\n}\nlocals {\n}\n', set()),
    "provider's own check of a provider block": (
        'provider "aws" {\n  assume_role {\n    role_arn = "x"\n  }\n}\n' + VPC,
        {(3, "InvalidValue")},
    ),
    "names like ours": (
        'locals {\n  _loraform_0 = 1\n}\nprovider "aws" {\n  region = "eu-west-1"\n}\nvariable "unknown" {\n}\n' + VPC,
        set(),
    ),
    "provider's reference": (
        'provider "aws" {\n  region = var.region\n}\n' + VPC,
        {(2, "ReferenceToUndeclaredInputVariable")},
    ),
    "provider's nested reference": (
        'provider "aws" {\n  default_tags {\n    tags = nofunc(1)\n  }\n}\n' + VPC,
        {(3, "CallToUnknownFunction")},
    ),
    "reference of a provider that nobody uses": ('provider "aws" {\n  region = var.region\n}\n', set()),
    "provider that is right": (
        SECRET + 'provider "aws" {\n  token = var.p\n  ignore_tags { keys = [local.a] }\n}\n'
        'locals {\n  a = "x"\n}\n' + VPC,
        set(),
    ),
    "alias that a root module expects": (
        "terraform {\n  required_providers {\n    aws = {\n      configuration_aliases = [aws.west]\n    }\n  }\n}\n"
        + VPC.replace("cidr", "provider = aws.west\n  cidr"),
        {(None, "ProviderConfigurationNotPresent")},
    ),
    "several": (
        'resource "aws_instance" "a" {\n  amii = 1\n  foo {\n  }\n}\nresource "aws_subnet" "a" {\n}\n',
        {(2, "UnsupportedArgument"), (3, "UnsupportedBlockType"), (6, "MissingRequiredArgument")},
    ),
    "depends on": (VPC.replace("cidr", "depends_on = [aws_vpc.zz]\n  cidr"), {(2, "ReferenceToUndeclaredResource")}),
    "built-in provider": ('resource "terraform_data" "b" {\n  input = 2\n}\n', set()),
}


def program(text: str) -> Normalised:
    configuration = single_file(text)
    assert configuration.problems == []
    return normalise(configuration)


def places(outcome: ValidateOutcome) -> set[tuple[int | None, str]]:
    assert outcome.undecided is None, outcome
    return {(d.line, d.code) for d in outcome.errors}


def check(cases: dict[str, Case], validator: Validator) -> None:
    """Validate the cases in one batch, and hold each verdict against what is wanted."""
    outcomes = validator.validate([program(text) for text, _ in cases.values()])
    assert {name: places(o) for name, o in zip(cases, outcomes, strict=True)} == {
        name: wanted for name, (_, wanted) in cases.items()
    }


ALONE = {name: case for name, case in CASES.items() if program(case[0]).alone}
TOGETHER = {name: case for name, case in CASES.items() if name not in ALONE}


@pytest.mark.parametrize("cases", [TOGETHER, ALONE], ids=["in a batch", "alone"])
def test_each_program_gets_its_own_verdict(terraform: Terraform, cases: dict[str, Case]) -> None:
    with ProviderServers(terraform) as keeper:
        check(cases, Validator(terraform, servers=keeper))


def test_a_provider_of_each_run_gives_the_same_verdicts(terraform: Terraform) -> None:
    """Each program that is validated alone starts a provider of its own, so two of those stand for all."""
    alone = {name: ALONE[name] for name in ("sensitive output", "provider's argument")}
    check(TOGETHER | alone, Validator(terraform))


def test_a_program_that_hangs_takes_nobody_with_it(terraform: Terraform) -> None:
    validator = Validator(terraform, Deadlines(run=5, program=0, waiting=20))
    good, hanging, bad = validator.validate([program(VPC), program(HANG), program(CASES["type"][0])])
    assert (good.errors, good.undecided) == ([], None)
    assert hanging.undecided is not None
    assert hanging.undecided.code in ("Timeout", "TerraformFailed")  # killed, or Go gave up for want of memory
    assert places(bad) == {(1, "InvalidResourceType")}


def test_a_kept_provider_that_died_is_replaced(terraform: Terraform) -> None:
    with ProviderServers(terraform) as keeper:
        validator = Validator(terraform, servers=keeper)
        before = json.loads(keeper.environment(["aws"])["TF_REATTACH_PROVIDERS"])
        for address in before.values():
            os.kill(address["Pid"], signal.SIGKILL)
        (outcome,) = validator.validate([program(CASES["type"][0])])
        after = json.loads(keeper.environment(["aws"])["TF_REATTACH_PROVIDERS"])
    assert places(outcome) == {(1, "InvalidResourceType")}
    assert before.keys() == after.keys()
    assert before != after


def test_a_missing_provider_and_a_denial_are_inconclusive(terraform: Terraform) -> None:
    texts = {
        "random": 'resource "random_id" "b" {\n  byte_length = 2\n}\n',
        "file": 'locals {\n  a = file("/etc/passwd")\n}\n',
        "custom": 'terraform {\n  required_providers {\n    aws = {\n      source = "custom/aws"\n    }\n  }\n}\n'
        + VPC,
    }
    request = VerifyRequest(programs=[Program(id=k, text=t) for k, t in texts.items()], stages=[Stage.VALIDATE])
    answer = Verifier(terraform).verify(request)
    found = {v.id: (v.passed, v.stages[0].inconclusive, v.stages[0].diagnostics[0].code) for v in answer.verdicts}
    assert found == {
        "random": (False, True, "ProviderMissing"),
        "file": (False, True, "BlockedByPolicy"),
        "custom": (False, True, "ProviderMissing"),
    }
    assert answer.toolchain == terraform.provenance()


def test_settings_that_terraform_is_not_shown_are_held_against_its_rules(terraform: Terraform) -> None:
    texts = {"provider": 2 * 'provider "aws" {\n}\n', "terraform": "terraform {\n  nope {\n  }\n}\n"}
    request = VerifyRequest(programs=[Program(id=k, text=t + VPC) for k, t in texts.items()], stages=[Stage.VALIDATE])
    found = {
        v.id: [(d.line, d.code) for d in v.stages[0].diagnostics] for v in Verifier(terraform).verify(request).verdicts
    }
    assert found == {"provider": [(3, "DuplicateProviderConfiguration")], "terraform": [(2, "UnsupportedBlockType")]}


def test_nothing_is_left_behind(terraform: Terraform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (outcome,) = Validator(terraform).validate([program(CASES["type"][0])])
    assert outcome.errors == [
        Diagnostic(
            code="InvalidResourceType",
            message='Invalid resource type: The provider hashicorp/aws does not support resource type "aws_vpcc". '
            'Did you mean "aws_vpc"?',
            line=1,
            hint='Did you mean "aws_vpc"?',
            file="main.tf",
        )
    ]
    assert list(tmp_path.iterdir()) == []
