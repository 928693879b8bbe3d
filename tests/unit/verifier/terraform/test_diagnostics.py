"""Conversion of terraform's diagnostics: stable codes, and no trace of the batch layout."""

from __future__ import annotations

import time

import pytest

from loraform_verifier.terraform.diagnostics import MAX_HEAD, MAX_TAIL, code_of, diagnostic_of, errors_of


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


def test_messages_hide_the_batch_layout() -> None:
    found = diagnostic_of({"summary": "Bad", "detail": "module.r12.aws_vpc.a at r12/main.tf:3 " + "x" * 5000})
    assert found.message.startswith("Bad: aws_vpc.a at main.tf:3 x")
    assert len(found.message) <= 1000
    assert found.line is None


def test_messages_hide_the_batch_layout_in_splat_addresses() -> None:
    detail = "module.r3[*].aws_vpc.a to module.r3[*].module.n[*].aws_vpc.b; module.r3.aws_vpc.c"
    found = diagnostic_of({"summary": "Cyclic dependency in move statements", "detail": detail})
    assert found.message.endswith(": aws_vpc.a to module.n[*].aws_vpc.b; aws_vpc.c")


def test_an_invalid_variable_is_reported_at_its_validation_rule() -> None:
    found = diagnostic_of(
        {
            "summary": "Invalid value for variable",
            "detail": "No.\n\nThis was checked by the validation rule at r0/net/main.tf:3,3-13.",
            "range": {"filename": "loraform.tf.json", "start": {"line": 1}},
        },
        "r0",
    )
    assert (found.file, found.line) == ("net/main.tf", 3)


def test_messages_are_equal_in_a_batch_and_alone() -> None:
    words = 'A managed resource "aws_vpc" "this" has not been declared in {}'
    company, alone = (
        diagnostic_of({"summary": "Reference to undeclared resource", "detail": words.format(where)})
        for where in ("module.r12.", "the root module.")
    )
    assert company == alone


def test_messages_hide_the_working_folder() -> None:
    found = diagnostic_of(
        {"summary": "Bad", "detail": 'cannot parse "/tmp/lf-ab_12/r3/x" or "/tmp/lf-ab_12" as a number'}
    )
    assert found.message == 'Bad: cannot parse "./x" or "." as a number'


def test_errors_in_generated_files_have_no_position() -> None:
    for name in ("loraform.tf.json", "r1/loraform.tf.json", "r1/.mirrored/vpc/main.tf"):
        found = diagnostic_of({"summary": "Bad", "range": {"filename": name, "start": {"line": 3}}}, "r1")
        assert (found.file, found.line) == (None, None)


def test_long_texts_keep_their_start_and_end() -> None:
    place = "\n\nThis was checked by the validation rule at r0/main.tf:3,3-13."
    said = {"severity": "error", "summary": "Invalid value for variable", "detail": "No" + "/" * 100_000 + place}
    (error,) = errors_of([{"severity": "warning", "summary": "w"}, said])
    assert error["summary"] == said["summary"]
    assert error["detail"].startswith("No///")
    assert error["detail"].endswith(place)
    assert len(error["detail"]) == MAX_HEAD + MAX_TAIL + 3
    assert (diagnostic_of(error).file, diagnostic_of(error).line) == ("main.tf", 3)


HOSTILE = {"folders": "/", "places": "r1/", "suggestions": "Did you mean ", "spaces": " "}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_conversion_is_linear_in_the_text(piece: str) -> None:
    def cost(length: int) -> float:
        text, costs = (piece * length)[:length], []
        for _ in range(3):
            started = time.process_time()
            diagnostic_of({"summary": text, "detail": text})
            costs.append(time.process_time() - started)
        return min(costs)

    assert cost(40_000) < 8 * cost(10_000)  # 16 times where it grows with the square


def test_an_invalid_line_number_gives_no_position() -> None:
    found = diagnostic_of({"summary": "Bad", "detail": f"the validation rule at main.tf:{'9' * 5000},1"})
    assert (found.file, found.line) == (None, None)
