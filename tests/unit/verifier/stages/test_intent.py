"""Literal intent: requirements must occur in the program, not in its comments."""

from __future__ import annotations

import pytest

from loraform_api.verification import IntentSpec
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
        IntentSpec(types=["aws_db_instance"]),
        IntentSpec(names=["main", "orders-db", "image", "in-object"]),
        IntentSpec(values=["20", "20.0", "true", "-1.5", "8080", "5432", "orders-db", 'a"b']),
        IntentSpec(),
    ],
)
def test_met_requirements_pass(asked: IntentSpec) -> None:
    assert missing_requirements(parse(PROGRAM).blocks, asked) == []


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (IntentSpec(types=["aws_eip"]), "ResourceTypeMissing"),
        (IntentSpec(types=["aws_ami"]), "ResourceTypeMissing"),
        (IntentSpec(names=["ghost"]), "NameMissing"),
        (IntentSpec(names=["orders"]), "NameMissing"),
        (IntentSpec(values=["4711"]), "ValueMissing"),
        (IntentSpec(values=["4712"]), "ValueMissing"),
        (IntentSpec(values=["key_name"]), "ValueMissing"),
        (IntentSpec(values=["1.5"]), "ValueMissing"),
        (IntentSpec(values=["1"]), "ValueMissing"),
        (IntentSpec(values=["True"]), "ValueMissing"),
    ],
)
def test_missing_requirements_are_named(asked: IntentSpec, code: str) -> None:
    (found,) = missing_requirements(parse(PROGRAM).blocks, asked)
    assert found.code == code
    assert repr([*asked.types, *asked.names, *asked.values][0]) in found.message
