"""Normalisation keeps every line and lists what the root module must provide."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraform_api.verification import Program
from loraform_verifier.hcl.configuration import read_program, single_file
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.hcl.normalise import Normalised, normalise
from loraform_verifier.hcl.parse import parse

PROGRAM = """terraform {
  required_version = "~> 1.9"  # é
}
provider "aws" {
  region = "eu-west-1"
}
provider "aws" {
  alias = "west"
}
resource "aws_vpc" "a" {
  provider = aws.west
}
"""


def text_of_main(text: str) -> str:
    return normalise(single_file(text)).files["main.tf"].decode()


def made(files: dict[str, str]) -> Normalised:
    configuration = read_program(Program(id="p", text="", files=files))
    return normalise(configuration, modules_of(configuration, "registry.terraform.io", None))


def test_settings_are_blanked_and_lines_stay() -> None:
    lines = text_of_main(PROGRAM).split("\n")
    assert [line.strip() for line in lines[:6]] == [""] * 6  # nobody uses the default configuration
    assert lines[9:] == PROGRAM.split("\n")[9:]


def test_a_used_provider_block_becomes_a_local_value() -> None:
    text = """provider /* c */ "aws" { # c
  region = var.region
  for    = <<-E
    x
  E
  assume_role { # c
    role_arn = local.role
  }
  ignore_tags { keys = ["a"] }
  dynamic "endpoints" {
    for_each = [1]
    content {
      s3 = each.value
    }
  }
}
resource "aws_vpc" "a" {
}
"""
    name = re.escape(f"_loraform_{sha256(text.encode()).hexdigest()[:16]}_0")
    assert re.sub(name, "NAME", text_of_main(text)).split("\n") == [
        "locals { NAME = /* c */       { # c",
        '  "region" = var.region',
        '  "for"    = <<-E',
        "    x",
        "  E",
        '  "assume_role" = { # c',
        '    "role_arn" = local.role',
        "  }",
        '  "ignore_tags" = { "keys" = ["a"] }',
        *(" " * len(line) for line in text.split("\n")[9:15]),
        "}}",
        *text.split("\n")[16:],
    ]
    assert parse(text_of_main(text)).problems == ()


@pytest.mark.parametrize(
    ("rest", "shown"),
    [
        ('resource "aws_vpc" "a" {\n}\n', {""}),
        ('data "aws_vpc" "a" {\n  provider = aws.west\n}\n', {"west"}),
        ('check "c" {\n  data "aws_vpc" "a" {\n  }\n}\n', {""}),
        ("locals {\n}\n", set()),
        ('module "m" {\n  source = "./m"\n}\n', {""}),
        ('module "m" {\n  source = "./m"\n  providers = {\n    aws = aws.west\n  }\n}\n', {"west"}),
        ('module "m" {\n  source = "./own"\n}\n', set()),
        ('module "m" {\n  source = "./between"\n}\n', {""}),
        ('module "m" {\n  source = "./alias"\n  providers = {\n    aws.x = aws.west\n  }\n}\n', {"west"}),
    ],
)
def test_an_unused_provider_block_is_blanked(rest: str, shown: set[str]) -> None:
    vpc = 'resource "aws_vpc" "a" {\n}\n'
    files = {
        "main.tf": 'provider "aws" {\n  region = local.default\n}\n'
        'provider "aws" {\n  alias  = "west"\n  region = local.west\n}\n' + rest,
        "m/main.tf": vpc,
        "own/main.tf": 'provider "aws" {\n  region = local.own\n}\n' + vpc,
        "between/main.tf": 'module "n" {\n  source = "../m"\n}\n',
        "alias/main.tf": 'provider "aws" {\n  alias = "x"\n}\n' + vpc.replace("{\n", "{\n  provider = aws.x\n"),
    }
    text = made(files).files["main.tf"].decode()
    assert {"" if word == "default" else word for word in re.findall(r"= local\.(\w+)", text)} == shown


def test_a_modules_own_aliases_become_the_default_configuration() -> None:
    inner = """provider "aws" {
  alias  = "west"
  region = "us-west-2"
}
provider "aws" {
  alias = "given"
}
resource "aws_vpc" "a" {
  provider = aws.west
}
resource "aws_vpc" "b" {
  provider = "aws.given"
}
resource "aws_vpc" "c" {
  provider = aws.absent
}
"""
    files = {"main.tf": 'module "m" {\n  source = "./m"\n}\n', "m/main.tf": inner}
    program = made(files)
    lines = program.files["m/main.tf"].decode().split("\n")
    assert re.fullmatch(r"locals \{ _loraform_[0-9a-f]{16}_0 =       \{", lines[0])
    assert lines[4:7] == inner.split("\n")[4:7]  # empty, so it cannot act, and a caller may hand one in
    assert [lines[8], lines[11], lines[14]] == ["  provider = aws", "  provider = aws", "  provider = aws.absent"]
    assert program.aliases == frozenset()


def test_path_module_is_replaced_by_its_value() -> None:
    text = 'locals {\n  a = "${path.module}/x"\n  b = path.root\n  c = path.modules\n}\n'
    program = made({"main.tf": text, "net/inner/main.tf": text})
    assert program.files["main.tf"].decode() == text.replace("${path.module}", '${"."}')
    assert program.files["net/inner/main.tf"].decode() == text.replace("${path.module}", '${"net/inner"}')


def test_a_loop_variable_called_path_stays() -> None:
    text = "locals {\n  a = [for path in [{ module = 1 }] : path.module]\n}\n"
    assert text_of_main(text) == text


def test_carriage_returns_stay() -> None:
    text = normalise(single_file("terraform {\r\n}\r\nlocals {\r\n}\r\n")).files["main.tf"]
    assert text == b"           \r\n \r\nlocals {\r\n}\r\n"


@pytest.mark.parametrize(
    ("required", "needed"),
    [
        ('aws = { source = "hashicorp/aws" }', {"aws"}),
        ('aws = { source = "registry.terraform.io/HashiCorp/aws" }', {"aws"}),
        ('aws = "~> 5.0"', {"aws"}),
        ('aws = { source = "custom/aws" }', {"aws = custom/aws"}),
        ('aws = { source = "example.com/hashicorp/aws" }', {"aws = example.com/hashicorp/aws"}),
        ('aws = { source = "hashicorp/google" }', {"aws = hashicorp/google"}),
        ('random = { source = "hashicorp/random" }', {"aws", "random"}),
        ('amazon = { source = "hashicorp/aws" }', {"aws"}),
        ('own = { source = "custom/own" }', {"aws", "custom/own"}),
        ('terraform = { source = "terraform.io/builtin/terraform" }', {"aws", "terraform"}),
    ],
)
def test_a_provider_is_named_with_its_source(required: str, needed: set[str]) -> None:
    settings = f"terraform {{\n  required_providers {{\n    {required}\n  }}\n}}\n"
    assert normalise(single_file(settings + 'resource "aws_vpc" "a" {\n}\n')).providers == needed


def test_a_provider_that_is_only_configured_is_needed() -> None:
    assert normalise(single_file('provider "google" {\n}\n')).providers == {"google"}


def test_configuration_aliases_of_the_root_module_are_not_provided() -> None:
    text = "terraform {\n  required_providers {\n    aws = {\n      configuration_aliases = [aws.x]\n    }\n  }\n}\n"
    assert normalise(single_file(text)).aliases == frozenset()


def test_aliases_and_providers_are_listed() -> None:
    program = normalise(
        single_file(PROGRAM + 'data "random_id" "b" {\n}\nresource "x_y" "c" {\n  provider = google\n}\n')
    )
    assert program.aliases == {("aws", "west")}
    assert program.providers == {"aws", "random", "google"}


def test_only_variables_without_default_and_with_a_valid_name_are_inputs() -> None:
    text = 'variable "a" {\n}\nvariable "b" {\n  default = null\n}\nvariable "source" {\n}\nvariable "x\\" {" {\n}\n'
    assert normalise(single_file(text)).inputs == {"a"}


SECRET = 'variable "p" {\n  sensitive = true\n}\n'


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ('output "o" {\n  value = 1\n}\n', False),
        (SECRET, False),
        (SECRET + 'output "o" {\n  value = var.p\n}\n', True),
        (SECRET + 'output "o" {\n  value = var.p\n  sensitive = true\n}\n', False),
        ('output "o" {\n  value = sensitive(1)\n}\n', True),
        ('output "o" {\n  value = 1\n  ephemeral = true\n}\n', True),
        ('ephemeral "x" "y" {\n}\noutput "o" {\n  value = 1\n}\n', True),
    ],
)
def test_a_program_with_sensitive_outputs_is_validated_alone(text: str, alone: bool) -> None:
    assert normalise(single_file(text)).alone is alone


def test_several_files_are_one_module() -> None:
    files = {
        "variables.tf": 'variable "a" {\n}\n',
        "providers.tf": 'provider "aws" {\n  alias = "west"\n}\n',
        "modules/n/main.tf": "terraform {\n  required_providers {\n    aws = {\n"
        "      configuration_aliases = [aws.x, aws.y]\n    }\n  }\n}\n"
        'variable "inner" {\n}\nresource "random_id" "b" {\n}\n',
    }
    program = normalise(read_program(Program(id="p", text='resource "aws_vpc" "a" {\n}\n', files=files)))
    assert sorted(program.files) == ["main.tf", *sorted(files)]
    assert program.inputs == {"a"}
    assert program.aliases == {("aws", "west")}
    assert program.inner_aliases == {"modules/n": {("aws", "x"), ("aws", "y")}}
    assert program.providers == {"aws", "random"}


def test_the_data_source_of_a_check_needs_its_provider() -> None:
    text = 'check "c" {\n  data "random_id" "r" {\n  }\n  assert {\n    condition = true\n  }\n}\n'
    assert normalise(single_file(text)).providers == {"random"}


OWN = 'provider "aws" {\n  region = local.region\n}\n'
NAMES = st.lists(st.from_regex(r"_loraform_([0-9a-f]{0,16}_)?[0-9]{0,2}", fullmatch=True), max_size=4)


@given(NAMES, st.integers(min_value=1, max_value=3))
def test_names_of_ours_are_in_no_program(names: list[str], rounds: int) -> None:
    text = (
        OWN + 'resource "aws_vpc" "a" {\n}\nlocals {\n' + "".join(f"  {n} = 1\n" for n in dict.fromkeys(names)) + "}\n"
    )
    for _ in range(rounds):  # a program that copies the names it was given cannot meet them
        (ours,) = re.findall(r"locals \{ (\w+) =", text_of_main(text))
        assert ours not in text
        text += f"locals {{\n  {ours} = 1\n}}\n"


def test_provider_blocks_are_as_written_in_a_validation_alone() -> None:
    text = "terraform {\n}\n" + OWN + 'resource "aws_vpc" "a" {\n  tags = { a = path.module }\n}\n'
    program = normalise(single_file(text))
    assert program.alone
    assert program.written == {
        "main.tf": text.replace("terraform {\n}", "           \n ").replace("path.module", '"."').encode()
    }
    assert normalise(single_file('resource "aws_vpc" "a" {\n}\n')).written == {}


def test_a_called_modules_provider_block_is_judged_too_and_no_others() -> None:
    call = {"main.tf": 'module "m" {\n  source = "./m"\n}\n'}
    assert made(call | {"m/main.tf": OWN}).alone
    assert not made(call | {"m/main.tf": "locals {\n}\n", "n/main.tf": OWN}).alone
