"""Which version constraints are mistakes, and which only exclude this toolchain."""

from __future__ import annotations

import pytest

from loraform_verifier.hcl.parse import parse
from loraform_verifier.hcl.requirements import CORE, Requirement, impossible, mismatch, requirements_of, unmet

INSTALLED = {CORE: "1.11.4", "hashicorp/aws": "5.100.0"}


def core(version: str) -> str:
    return f"terraform {{\n  required_version = {version}\n}}\n"


def aws(version: str) -> str:
    return f"terraform {{\n  required_providers {{\n    aws = {{\n      version = {version}\n    }}\n  }}\n}}\n"


def asked(*texts: str) -> list[Requirement]:
    documents = {f"{number}.tf": parse(text) for number, text in enumerate(texts)}
    assert all(document.problems == () for document in documents.values())
    return list(requirements_of(documents.items()))


@pytest.mark.parametrize(
    ("text", "errors", "excluded"),
    [
        (core('">= 1.5"'), [], []),
        (core("null"), [], []),
        (core('"~> 1.9.8"'), [], [2]),
        (core('"~> 1.99"'), [], [2]),
        (core('">= 99.0"'), [(2, "UnsupportedTerraformCoreVersion")], [2]),
        (core('"< 0.1"'), [(2, "UnsupportedTerraformCoreVersion")], [2]),
        (core('"latest"'), [(2, "InvalidVersionConstraint")], []),
        (core("var.version"), [(2, "InvalidVersionConstraint")], []),
        (aws('"~> 5.0"'), [], []),
        (aws('"~> 4.16"'), [], [4]),
        (aws('">= 99.0"'), [], [4]),
        (aws('"> 6, < 5"'), [(4, "UnsatisfiableVersionConstraint")], [4]),
        (aws("null"), [(4, "InvalidVersionConstraint")], []),
        ('terraform {\n  required_providers {\n    aws = "~> 4.0"\n  }\n}\n', [], [3]),
        ('provider "aws" {\n  version = "~> 4.0"\n}\n', [], [2]),
        ('provider "aws" {\n  version = "newest"\n}\n', [(2, "InvalidVersionConstraint")], []),
        ('provider "random" {\n  version = "~> 99.0"\n}\n', [], []),
    ],
)
def test_a_constraint_is_met_or_excludes_this_toolchain_or_every_release(
    text: str, errors: list[tuple[int, str]], excluded: list[int]
) -> None:
    requirements = asked(text)
    assert [(error.line, error.code) for error in impossible(requirements)] == errors
    assert [requirement.line for requirement in unmet(requirements, INSTALLED)] == excluded


def test_constraints_that_exclude_each_other_are_an_error_at_the_later_one() -> None:
    (error,) = impossible(asked(aws('"~> 5.0"'), aws('"~> 4.0"')))
    assert (error.file, error.line, error.code) == ("1.tf", 4, "UnsatisfiableVersionConstraint")
    assert 'version = "~> 4.0"' in error.message


def test_a_local_name_stands_for_its_source() -> None:
    settings = 'terraform {\n  required_providers {\n    amazon = {\n      source = "hashicorp/aws"\n    }\n  }\n}\n'
    (requirement,) = asked(settings + 'provider "amazon" {\n  version = "~> 4.0"\n}\n')
    assert requirement.subject == "hashicorp/aws"


def test_a_mismatch_names_the_constraint_and_the_version_here() -> None:
    finding = mismatch(asked(core('"~> 1.9.8"'))[0], "1.10.10", "OpenTofu")
    assert (finding.code, finding.file, finding.line) == ("ToolchainMismatch", "0.tf", 2)
    assert finding.message == 'required_version = "~> 1.9.8" excludes OpenTofu 1.10.10, which is the version here.'
