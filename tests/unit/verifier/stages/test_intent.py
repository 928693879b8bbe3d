"""Literal intent: requirements must occur in the program, not in its comments."""

from __future__ import annotations

import pytest

from loraform_api.verification import Asked
from loraform_verifier.hcl.parse import parse
from loraform_verifier.stages.intent import missing_requirements

PROGRAM = """# aws_eip "ghost" 4711
resource "aws_db_instance" "main" {
  identifier        = "orders-db"
  allocated_storage = 20
  multi_az          = true
  weight            = -1.50
  path              = "a\\"b"
  note              = "see ${var.ghost} 4712"
  list              = [8080, { key_name = "in-object" }]
  nested {
    port = 5432
  }
}
data "aws_ami" "image" {
}
"""


@pytest.mark.parametrize(
    "asked",
    [
        Asked(types=["aws_db_instance"]),
        Asked(names=["main", "orders-db", "image", "in-object"]),
        Asked(values=["20", "20.0", "true", "-1.5", "8080", "5432", "orders-db", 'a"b']),
        Asked(),
    ],
)
def test_met_requirements_pass(asked: Asked) -> None:
    assert missing_requirements(parse(PROGRAM).blocks, asked) == []


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Asked(types=["aws_eip"]), "ResourceTypeMissing"),
        (Asked(types=["aws_ami"]), "ResourceTypeMissing"),
        (Asked(names=["ghost"]), "NameMissing"),
        (Asked(names=["orders"]), "NameMissing"),
        (Asked(values=["4711"]), "ValueMissing"),
        (Asked(values=["4712"]), "ValueMissing"),
        (Asked(values=["key_name"]), "ValueMissing"),
        (Asked(values=["1.5"]), "ValueMissing"),
        (Asked(values=["1"]), "ValueMissing"),
        (Asked(values=["True"]), "ValueMissing"),
    ],
)
def test_missing_requirements_are_named(asked: Asked, code: str) -> None:
    (found,) = missing_requirements(parse(PROGRAM).blocks, asked)
    assert found.code == code
    assert repr([*asked.types, *asked.names, *asked.values][0]) in found.message
