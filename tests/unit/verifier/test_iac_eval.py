"""IaC-Eval's two forms read into one; errors say where and what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loraform_verifier.iac_eval import SuiteError, SuiteRow, read_rows

HEADER = "Resource,Prompt,Rego intent,Difficulty,Reference output,Intent\r\n"
POLICY = '"package terraform.validation\r\n\r\ndefault ok = false\r\n\r\nok { input.x == ""y"" }"'
PROGRAM = '"resource ""aws_vpc"" ""main"" {\r\n  cidr_block = ""10.0.0.0/16""\r\n}"'
ROW = f'aws_vpc,"A VPC, plain",{POLICY},1,{PROGRAM},has a vpc\r\n'
CSV = HEADER + ROW + "aws_vpc,Another VPC,,,,\r\n"
LINE: dict[str, Any] = {
    "id": "vpc",
    "row": 7,
    "difficulty": 2,
    "cluster": 4,
    "prompt": "A VPC",
    "instruction": "A VPC, annotated",
    "input": "",
    "response": "served",
    "reference": "human",
    "rego": "package a",
}


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_csv_with_windows_newlines_and_quoted_newlines() -> None:
    first, second = read_rows(CSV, "suite.csv", "Reference output")
    assert first == SuiteRow(
        id="row-1",
        instruction="A VPC, plain",
        program='resource "aws_vpc" "main" {\n  cidr_block = "10.0.0.0/16"\n}',
        rego='package terraform.validation\n\ndefault ok = false\n\nok { input.x == "y" }',
        difficulty=1,
    )
    assert second == SuiteRow(id="row-2", instruction="Another VPC")


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    assert read_rows("\ufeff" + CSV, "suite.csv", "Reference output") == read_rows(CSV, "suite.csv", "Reference output")
    assert len(read_rows("\ufeff" + jsonl(LINE), "suite.jsonl", "response")) == 1


def test_a_field_longer_than_the_csv_modules_own_bound() -> None:
    long = "x" * 200_000
    (row,) = read_rows(f"{HEADER}r,p,,1,{long},i\n", "suite.csv", "Reference output")
    assert row.program == long


@pytest.mark.parametrize(("field", "program"), [("response", "served"), ("reference", "human")])
def test_json_lines_with_the_asked_program(field: str, program: str) -> None:
    assert read_rows(jsonl(LINE) + "\n", "suite.jsonl", field) == [
        SuiteRow("vpc", "A VPC, annotated", "", program, "package a", difficulty=2, cluster="4")
    ]


def test_a_line_separator_inside_a_program_ends_no_row() -> None:
    text = json.dumps(LINE | {"response": "a\u2028b"}, ensure_ascii=False)
    assert read_rows(text, "suite.jsonl", "response")[0].program == "a\u2028b"


def test_a_row_may_lack_what_only_some_suites_have() -> None:
    row = {"instruction": "A VPC", "response": None}
    assert read_rows(jsonl(row), "suite.jsonl", "response") == [SuiteRow("row-1", "A VPC")]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (CSV, "suite.json", r"suite\.json: the name must end in \.csv or \.jsonl"),
        ("Prompt,Difficulty\n", "s.csv", r"s\.csv, row 0, column 'Rego intent': .*it has: Prompt, Difficulty"),
        ("", "s.csv", r"column 'Prompt': the header has no such column; it has: none"),
        (HEADER + "a,b\n", "s.csv", r"s\.csv, row 1, column 'all': a row must have 6 columns"),
        (HEADER + "a,b,c,1,d,e,f\n", "s.csv", r"row 1, column 'all': a row must have 6 columns"),
        (HEADER + 'a,"b,c,1,d,e\n', "s.csv", r"s\.csv, row 1: this is no CSV"),
        (ROW.join([HEADER, "a,,c,1,d,e\n"]), "s.csv", r"s\.csv, row 2, column 'Prompt': it must be a string that"),
        (HEADER + "a,b,c,7,d,e\n", "s.csv", r"column 'Difficulty': it must be a whole number from 1 to 6; it is '7'"),
        (HEADER + "a,b,c,hard,d,e\n", "s.csv", r"row 1, column 'Difficulty': .*'hard'"),
    ],
)
def test_an_error_in_a_csv_names_its_place(text: str, name: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        read_rows(text, name, "Reference output")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (jsonl(LINE) + "{", r"s\.jsonl, row 2: this is no JSON"),
        ("[]", r"s\.jsonl, row 1: a row must be a JSON object"),
        (jsonl(LINE | {"id": 3}), r"s\.jsonl, row 1, column 'id': it must be a string; it is 3"),
        (jsonl(LINE | {"instruction": " "}), r"column 'instruction': it must be a string that is not empty"),
        (jsonl({"instruction": "x"}), r"row 1, column 'response': it is missing; the row has: instruction"),
        (jsonl(LINE | {"rego": ["package a"]}), r"column 'rego': it must be a string"),
        (jsonl(LINE | {"difficulty": True}), r"column 'difficulty': .*from 1 to 6; it is 'True'"),
        (jsonl(LINE | {"cluster": 1.5}), r"column 'cluster': it must be a string or a number"),
        (jsonl(LINE, LINE), r"the id 'vpc' stands twice"),
    ],
)
def test_an_error_in_json_lines_names_its_place(text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        read_rows(text, "s.jsonl", "response")
