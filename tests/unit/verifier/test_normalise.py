"""Normalisation keeps every line and lists what a parent must provide."""

from __future__ import annotations

import pytest

from loraform_api.verification import Program
from loraform_verifier.configuration import read, single
from loraform_verifier.normalise import normalise

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


def test_own_settings_are_blanked_byte_for_byte() -> None:
    text = normalise(single(PROGRAM)).files["main.tf"]
    assert len(text) == len(PROGRAM.encode())
    assert [i for i, b in enumerate(text) if b == 10] == [i for i, b in enumerate(PROGRAM.encode()) if b == 10]
    lines = text.decode().split("\n")
    assert [line.strip() for line in lines[:9]] == [""] * 9
    assert lines[9:] == PROGRAM.split("\n")[9:]


def test_carriage_returns_stay() -> None:
    text = normalise(single("terraform {\r\n}\r\nlocals {\r\n}\r\n")).files["main.tf"]
    assert text == b"           \r\n \r\nlocals {\r\n}\r\n"


def test_aliases_and_providers_are_listed() -> None:
    program = normalise(single(PROGRAM + 'data "random_id" "b" {\n}\nresource "x_y" "c" {\n  provider = google\n}\n'))
    assert program.aliases == {("aws", "west")}
    assert program.providers == {"aws", "random", "google"}


def test_only_variables_without_default_and_with_a_plain_name_are_fed() -> None:
    text = 'variable "a" {\n}\nvariable "b" {\n  default = null\n}\nvariable "source" {\n}\nvariable "x\\" {" {\n}\n'
    assert normalise(single(text)).inputs == {"a"}


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
def test_rules_of_root_modules_need_a_run_alone(text: str, alone: bool) -> None:
    assert normalise(single(text)).root_only is alone


def test_several_files_are_one_module() -> None:
    files = {
        "variables.tf": 'variable "a" {\n}\n',
        "providers.tf": 'provider "aws" {\n  alias = "west"\n}\n',
        "modules/n/main.tf": "terraform {\n  required_providers {\n    aws = {\n"
        "      configuration_aliases = [aws.x, aws.y]\n    }\n  }\n}\n"
        'variable "inner" {\n}\nresource "random_id" "b" {\n}\n',
    }
    program = normalise(read(Program(id="p", text='resource "aws_vpc" "a" {\n}\n', files=files)))
    assert sorted(program.files) == ["main.tf", *sorted(files)]
    assert program.inputs == {"a"}
    assert program.aliases == {("aws", "west")}
    assert program.inner_aliases == {"modules/n": {("aws", "x"), ("aws", "y")}}
    assert program.providers == {"aws", "random"}


def test_the_data_source_of_a_check_needs_its_provider() -> None:
    text = 'check "c" {\n  data "random_id" "r" {\n  }\n  assert {\n    condition = true\n  }\n}\n'
    assert normalise(single(text)).providers == {"random"}
