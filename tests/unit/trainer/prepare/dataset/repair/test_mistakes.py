"""How each kind of mistake changes a program."""

from __future__ import annotations

import difflib
from random import Random

import pytest

from loraform_api.verification import DenyRule, HousePolicy
from loraform_trainer.prepare.dataset.repair.mistakes import GENERAL_KINDS, kinds
from loraform_verifier.hcl.parse import parse

PROGRAM = """# Made by us
resource "aws_vpc" "net" {
  cidr_block = "10.0.0.0/16"
}

variable "size" {
  type = number
}

resource "aws_instance" "web" {
  ami           = "ami-1"
  instance_type = "t3.micro"
  monitoring    = true
  subnet_id     = aws_vpc.net.id

  root_block_device {
    volume_size = var.size
  }

  tags = {
    owner = "us"
  }
}

resource "aws_kms_alias" "key" {
  target_key_id = "k"
}
"""
ALIAS = 'resource "aws_kms_alias" "key" {\n  target_key_id = "k"\n}\n'
BUCKET = 'resource "aws_s3_bucket" "b" {\n}\n'


def changed(kind: str, seed: int = 0, program: str = PROGRAM, policy: HousePolicy | None = None) -> tuple[str, str]:
    """Return the lines that a mistake removes and those that it adds."""
    text = kinds(policy)[kind](parse(program), Random(seed))
    assert text is not None
    lines = list(difflib.ndiff(program.splitlines(), text.splitlines()))
    return tuple("\n".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+")  # type: ignore[return-value] # two


def every(kind: str, program: str = PROGRAM) -> set[tuple[str, str]]:
    """Return the changes of a mistake with many seeds."""
    return {changed(kind, seed, program) for seed in range(60)}


@pytest.mark.parametrize("kind", GENERAL_KINDS)
def test_a_mistake_changes_the_program_as_the_seed_decides(kind: str) -> None:
    first, second = (GENERAL_KINDS[kind](parse(PROGRAM), Random("x 1")) for _ in range(2))
    assert first is not None
    assert first == second != PROGRAM


@pytest.mark.parametrize("kind", GENERAL_KINDS)
@pytest.mark.parametrize("program", ["", "locals {\n}\n", 'resource "unknown_thing" "x" {\n}\n', "x = 1\n"])
def test_a_mistake_returns_none_or_another_program(kind: str, program: str) -> None:
    text = GENERAL_KINDS[kind](parse(program), Random(1))
    assert text is None or text != program


@pytest.mark.parametrize("kind", sorted(GENERAL_KINDS.keys() - {"MissingBrace", "MissingQuote", "RepeatedArgument"}))
def test_semantic_mistakes_leave_a_program_that_parses(kind: str) -> None:
    for seed in range(20):
        text = GENERAL_KINDS[kind](parse(PROGRAM), Random(seed))
        assert text is not None
        assert [p.code for p in parse(text).problems] == []


@pytest.mark.parametrize("kind", ["MissingBrace", "MissingQuote", "RepeatedArgument"])
def test_syntax_mistakes_do_not_parse(kind: str) -> None:
    for seed in range(20):
        text = GENERAL_KINDS[kind](parse(PROGRAM), Random(seed))
        assert text is not None
        assert parse(text).problems


def test_missing_argument_removes_a_required_one() -> None:
    assert every("MissingArgument") == {('target_key_id = "k"', "")}
    assert GENERAL_KINDS["MissingArgument"](parse(BUCKET), Random(0)) is None


def test_invented_names_are_not_in_the_schema() -> None:
    changes = every("InventedArgument")
    assert all(gone == "" and " = " in new for gone, new in changes)
    assert len({new for _, new in changes}) > 5
    in_alias = {GENERAL_KINDS["InventedArgument"](parse(ALIAS), Random(seed)) for seed in range(60)}
    assert len(in_alias) > 5
    assert not [text for text in in_alias if text is None or "  name = " in text]  # an alias can have a name
    assert ("monitoring    = true", "monitorings    = true") in every("MisspeltArgument")
    like_alias = {GENERAL_KINDS["MisspeltArgument"](parse(ALIAS), Random(seed)) for seed in range(60)}
    assert ALIAS.replace("target_key_id", "targetKeyId") in like_alias


def test_invented_type_is_renamed_in_the_whole_program() -> None:
    for seed in range(20):
        text = GENERAL_KINDS["InventedType"](parse(PROGRAM), Random(seed))
        assert text is not None
        document = parse(text)
        vpc = next(b for b in document.resources() if b.labels[1] == "net").labels[0]
        assert f"subnet_id     = {vpc}.net.id" in text


def test_references_to_undeclared_resources_or_attributes() -> None:
    assert ("subnet_id     = aws_vpc.net.id", "subnet_id     = aws_vpc.main.id") in every("WrongReference")
    assert all(new.startswith("subnet_id     = aws_vpc.net.") for _, new in every("WrongAttribute"))


def test_variables_are_used_without_declaration() -> None:
    assert changed("ForgottenVariable") == ('variable "size" {\ntype = number\n}', "")
    assert ('ami           = "ami-1"', "ami           = var.ami") in every("UndeclaredVariable")


def test_values_have_another_type() -> None:
    changes = every("WrongValue")
    assert ("monitoring    = true", 'monitoring    = "enabled"') in changes
    assert ('ami           = "ami-1"', 'ami           = ["ami-1"]') in changes
    group = 'resource "aws_security_group_rule" "r" {\n  cidr_blocks = ["10.0.0.0/8"]\n  from_port = 22\n}\n'
    changes = every("WrongValue", group)
    assert ('cidr_blocks = ["10.0.0.0/8"]', 'cidr_blocks = "10.0.0.0/8"') in changes
    assert ("from_port = 22", 'from_port = "22 GB"') in changes


def test_blocks_become_arguments_and_arguments_blocks() -> None:
    assert changed("BlockAsArgument") == ("root_block_device {", "root_block_device = {")
    assert changed("ArgumentAsBlock") == ("tags = {", "tags {")


def test_non_ascii_text_is_unchanged() -> None:
    program = PROGRAM.replace("Made by us", "für Zürich").replace('"us"', '"Zürich 東京"')
    for kind, mistake in GENERAL_KINDS.items():
        text = mistake(parse(program), Random(3))
        assert text is not None
        assert "für Zürich" in text, kind


def test_only_violations_that_the_rewriter_cannot_fix_are_kinds() -> None:
    assert kinds(HousePolicy(comment="# Made by us", tags={"owner": "us"})).keys() == GENERAL_KINDS.keys()
    asking = HousePolicy(required_tags=["owner"])
    assert changed("MissingTag", policy=asking) == ('owner = "us"', "")
    assert kinds(asking)["MissingTag"](parse(BUCKET), Random(0)) is None


def test_denied_value_is_set_on_a_resource_of_its_rule() -> None:
    rule = DenyRule(name="big", types=["aws_inst*"], argument="instance_type", values=["x1.32xlarge"])
    policy = HousePolicy(deny=[rule])
    assert changed("DeniedValue", policy=policy) == ('instance_type = "t3.micro"', 'instance_type = "x1.32xlarge"')
    assert kinds(policy)["DeniedValue"](parse(BUCKET), Random(0)) is None
    inside = DenyRule(name="open", types=["*"], argument="ingress.cidr_blocks", values=["0.0.0.0/0"])
    assert "DeniedValue" not in kinds(HousePolicy(deny=[inside]))
