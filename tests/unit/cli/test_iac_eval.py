"""Reading IaC-Eval's published CSV, and errors that name the location."""

from __future__ import annotations

import pytest

from loraform_api.verification import Program
from loraform_cli.iac_eval import SuiteError, read_csv

HEADER = "Resource,Prompt,Rego intent,Difficulty,Reference output,Intent\r\n"
POLICY = '"package terraform.validation\r\n\r\ndefault ok = false\r\n\r\nok { input.x == ""y"" }"'
PROGRAM = '"resource ""aws_vpc"" ""main"" {\r\n  cidr_block = ""10.0.0.0/16""\r\n}"'
ROW = f'aws_vpc,"A VPC, plain",{POLICY},1,{PROGRAM},has a vpc\r\n'
CSV = HEADER + ROW + "aws_vpc,Another VPC,,,,\r\n"
FIELD = "Reference output"


def test_windows_newlines_and_quoted_newlines() -> None:
    first, second = read_csv(CSV, "suite.csv", FIELD)
    assert first == Program(
        id="row-1",
        text='resource "aws_vpc" "main" {\n  cidr_block = "10.0.0.0/16"\n}',
        rego='package terraform.validation\n\ndefault ok = false\n\nok { input.x == "y" }',
    )
    assert second == Program(id="row-2", text="")


def test_a_byte_order_mark_is_ignored() -> None:
    text = "Reference output,Rego intent\nlocals {},package a\n"
    assert read_csv("\ufeff" + text, "suite.csv", FIELD) == read_csv(text, "suite.csv", FIELD)


def test_a_field_longer_than_the_csv_modules_own_bound() -> None:
    long = "x" * 200_000
    (row,) = read_csv(f"{HEADER}r,p,,1,{long},i\n", "suite.csv", FIELD)
    assert row.text == long


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Prompt,Difficulty\n", r"s\.csv, column 'Rego intent': .*it has: Prompt, Difficulty"),
        ("Rego intent\n", r"s\.csv, column 'Reference output': .*it has: Rego intent"),
        ("", r"column 'Rego intent': the header has no such column; it has: none"),
        (HEADER + "a,b\n", r"s\.csv, row 1: a row must have 6 columns"),
        (HEADER + ROW + "a,b,c,1,d,e,f\n", r"row 2: a row must have 6 columns"),
        (HEADER + 'a,"b,c,1,d,e\n', r"s\.csv, row 1: not valid CSV"),
    ],
)
def test_an_error_names_file_row_and_column(text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        read_csv(text, "s.csv", FIELD)
