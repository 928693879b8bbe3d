"""Terraform's diagnostics in our words: stable classes, no trace of how programs are laid out."""

from __future__ import annotations

import pytest

from loraform_verifier.diagnostics import code_of, diagnostic_of


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        ("Unsupported argument", "UnsupportedArgument"),
        ("Reference to undeclared resource", "ReferenceToUndeclaredResource"),
        ('Duplicate resource "aws_vpc" configuration', "DuplicateResourceConfiguration"),
        ("Cycle: module.r5.local.a (expand), module.r5.local.b (expand)", "Cycle"),
        ('expected status to be one of ["Enabled"], got On', "InvalidValue"),
        ('"cidr_block" must be valid', "InvalidValue"),
    ],
)
def test_codes_are_stable_words(summary: str, code: str) -> None:
    assert code_of(summary) == code


def test_line_message_and_hint() -> None:
    found = diagnostic_of(
        {
            "severity": "error",
            "summary": "Unsupported argument",
            "detail": 'An argument named "cidr_blok" is not expected here. Did you mean "cidr_block"?',
            "range": {"filename": "r1/main.tf", "start": {"line": 2, "column": 3, "byte": 26}},
        },
        "r1",
    )
    assert found.file == "main.tf"
    assert found.line == 2
    assert found.hint == 'Did you mean "cidr_block"?'
    assert found.message.startswith("Unsupported argument: An argument named")


def test_our_layout_does_not_show() -> None:
    found = diagnostic_of({"summary": "Bad", "detail": "module.r12.aws_vpc.a at r12/main.tf:3 " + "x" * 5000})
    assert found.message.startswith("Bad: aws_vpc.a at main.tf:3 x")
    assert len(found.message) <= 1000
    assert found.line is None


def test_a_program_reads_the_same_in_company_and_alone() -> None:
    words = 'A managed resource "aws_vpc" "this" has not been declared in {}'
    company, alone = (
        diagnostic_of({"summary": "Reference to undeclared resource", "detail": words.format(where)})
        for where in ("module.r12.", "the root module.")
    )
    assert company == alone


def test_our_folder_is_not_told() -> None:
    found = diagnostic_of(
        {"summary": "Bad", "detail": 'cannot parse "/tmp/lf-ab_12/r3/x" or "/tmp/lf-ab_12" as a number'}
    )
    assert found.message == 'Bad: cannot parse "./x" or "." as a number'


def test_what_lies_in_our_own_files_has_no_place() -> None:
    for name in ("loraform.tf.json", "r1/loraform.tf.json", "r1/.mirrored/vpc/main.tf"):
        found = diagnostic_of({"summary": "Bad", "range": {"filename": name, "start": {"line": 3}}}, "r1")
        assert (found.file, found.line) == (None, None)
