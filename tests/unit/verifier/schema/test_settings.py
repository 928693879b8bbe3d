"""Errors in the settings blocks that normalisation removes."""

from __future__ import annotations

import pytest

from loraform_api.verification import Program
from loraform_verifier.hcl.configuration import read_program
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.schema.settings import settings_errors

REQUIRED = "terraform {\n  required_providers {\n    %s\n  }\n}\n"
OWN = 'provider "aws" {\n  region = "us-east-1"\n}\n'
CALL = 'module "m" {\n  source = "./m"\n  %s\n}\n'


def found(**files: str) -> list[tuple[str | None, int | None, str]]:
    named = {f"{name.replace('__', '/')}.tf": text for name, text in files.items()}
    configuration = read_program(Program(id="p", text=named.pop("main", ""), files=named))
    assert configuration.problems == []
    return [(d.file, d.line, d.code) for d in settings_errors(configuration, modules_of(configuration, "", None))]


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("terraform {\n  nope = 1\n}\n", 2, "UnsupportedArgument"),
        ("terraform {\n  required_provider {\n  }\n}\n", 2, "UnsupportedBlockType"),
        ('terraform "x" {\n}\n', 1, "ExtraneousLabelForTerraform"),
        ("provider {\n}\n", 1, "MissingNameForProvider"),
        ('provider "aws" "b" {\n}\n', 1, "ExtraneousLabelForProvider"),
        ('provider "AWS" {\n}\n', 1, "InvalidProviderLocalName"),
        ('provider "aws.west" {\n}\n', 1, "InvalidProviderLocalName"),
        ('provider "aws" {\n}\nprovider "aws" {\n}\n', 3, "DuplicateProviderConfiguration"),
        (2 * 'provider "aws" {\n  alias = "w"\n}\n', 4, "DuplicateProviderConfiguration"),
        ('provider "aws" {\n  alias = var.a\n}\n', 2, "InvalidProviderConfigurationAlias"),
        ('module "m" {\n  a = 1\n}\n', 1, "MissingRequiredArgument"),
        (2 * (REQUIRED % ""), 7, "DuplicateRequiredProvidersConfiguration"),
        (REQUIRED % 'aws = {\n sauce = "hashicorp/aws"\n}', 4, "InvalidRequiredProvidersObject"),
        (REQUIRED % "aws {\n}", 3, "UnexpectedBlock"),
        ("terraform {\n  experiments = []\n}\n", 2, "ModuleUsesExperimentalFeatures"),
        ("terraform {\n  language = TF2030\n}\n", 2, "UnsupportedLanguageEdition"),
        ('provider "aws" {\n  source = "hashicorp/aws"\n}\n', 2, "ReservedArgumentNameInProviderBlock"),
        ('provider "aws" {\n  lifecycle {\n  }\n}\n', 2, "ReservedBlockTypeNameInProviderBlock"),
        ('terraform {\n  required_version = ">= 99.0"\n}\n', 2, "UnsupportedTerraformCoreVersion"),
        (REQUIRED % 'aws = "> 6, < 5"', 3, "UnsatisfiableVersionConstraint"),
        (REQUIRED % 'AWS = { source = "hashicorp/aws" }', 3, "InvalidProviderLocalName"),
    ],
)
def test_invalid_settings_are_errors(text: str, line: int, code: str) -> None:
    assert found(main=text) == [("main.tf", line, code)]


@pytest.mark.parametrize(
    "text",
    [
        'terraform {\n  required_version = ">= 1"\n  language = TF2021\n}\n' + REQUIRED % 'aws = "~> 5.0"',
        REQUIRED % 'aws = {\n  source = "hashicorp/aws"\n  version = "5"\n  configuration_aliases = [aws.w]\n}',
        'provider "google-beta" {\n}\nprovider "aws" {\n}\nprovider "aws" {\n  alias = "w"\n}\n',
    ],
)
def test_valid_settings_pass(text: str) -> None:
    assert found(main=text) == []


def test_the_files_of_a_module_are_one_and_modules_are_each_their_own() -> None:
    assert found(main=OWN, other=OWN) == [("other.tf", 1, "DuplicateProviderConfiguration")]
    assert found(main=OWN + CALL % "", m__main=OWN) == []


def test_an_uncalled_module_is_not_checked() -> None:
    assert found(main="locals {\n}\n", m__main="terraform {\n  nope = 1\n}\n") == []


@pytest.mark.parametrize("argument", ["count = 2", "for_each = {}", "depends_on = [aws_vpc.a]"])
def test_a_module_with_a_provider_of_its_own_may_not_be_repeated(argument: str) -> None:
    wanted = [("main.tf", 3, "InvalidValue")]
    assert found(main=CALL % argument, m__main=OWN) == wanted
    assert found(main=CALL % argument, m__main=CALL % "", m__m__main=OWN) == wanted


@pytest.mark.parametrize(
    ("argument", "inside"), [("", OWN), ("depends_on = []", OWN), ("count = 2", 'provider "aws" {\n  alias = "w"\n}\n')]
)
def test_other_modules_may_be_repeated(argument: str, inside: str) -> None:
    assert found(main=CALL % argument, m__main=inside) == []
