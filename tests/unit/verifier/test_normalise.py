"""Normalisation keeps every line and lists what a parent must provide."""

from __future__ import annotations

import pytest

from loraform_verifier.normalise import normalise
from loraform_verifier.parse import parse

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
    text = normalise(parse(PROGRAM)).text
    assert len(text) == len(PROGRAM.encode())
    assert [i for i, b in enumerate(text) if b == 10] == [i for i, b in enumerate(PROGRAM.encode()) if b == 10]
    lines = text.decode().split("\n")
    assert [line.strip() for line in lines[:9]] == [""] * 9
    assert lines[9:] == PROGRAM.split("\n")[9:]


def test_carriage_returns_stay() -> None:
    text = normalise(parse("terraform {\r\n}\r\nlocals {\r\n}\r\n")).text
    assert text == b"           \r\n \r\nlocals {\r\n}\r\n"


def test_aliases_and_providers_are_listed() -> None:
    program = normalise(parse(PROGRAM + 'data "random_id" "b" {\n}\nresource "x_y" "c" {\n  provider = google\n}\n'))
    assert program.aliases == {("aws", "west")}
    assert program.providers == {"aws", "random", "google"}


def test_only_variables_without_default_and_with_a_plain_name_are_fed() -> None:
    text = 'variable "a" {\n}\nvariable "b" {\n  default = null\n}\nvariable "source" {\n}\nvariable "x\\" {" {\n}\n'
    assert normalise(parse(text)).inputs == {"a"}


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
    assert normalise(parse(text)).root_only is alone
