"""Reading suite rows from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loraform_api.finetunejob import SuiteSpec
from loraform_api.verification import HousePolicy
from loraform_trainer.prepare.dataset.suites import SuiteLine, held_out, suite_rows
from loraform_trainer.runtime.errors import DatasetInvalidError

LINE = '{"id": "1", "instruction": "Do.", "asked": {"types": ["aws_vpc"]}, "difficulty": 3, "more": 1}\n'


def rows(path: Path, name: str, text: str, count: int = 1) -> list[dict[str, object]]:
    (path / name).write_text(text)
    suites = [(SuiteSpec.model_validate({"name": f"s{i}", "stages": ["Parse"]}), path / name) for i in range(count)]
    return [row.wire() for row in suite_rows(suites)]


def test_all_file_formats_give_the_same_rows(tmp_path: Path) -> None:
    expected = rows(tmp_path, "a.jsonl", LINE)
    assert rows(tmp_path, "a.json", f"[{LINE}]") == expected
    csv = 'id,instruction,asked,difficulty,rego\n1,Do.,"{""types"": [""aws_vpc""]}",3,\n'
    assert rows(tmp_path, "a.csv", csv) == expected
    asked = {"types": ["aws_vpc"], "names": None, "values": None}
    table = pa.table({"id": ["1"], "instruction": ["Do."], "asked": [asked], "difficulty": [3]})
    pq.write_table(table, tmp_path / "a.parquet")
    spec = SuiteSpec.model_validate({"name": "s0", "stages": ["Parse"]})
    assert [row.wire() for row in suite_rows([(spec, tmp_path / "a.parquet")])] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n", "suite 's0', line 1: not JSON"),
        (LINE + '{"id": "2"}\n', "suite 's0', line 2: instruction: Field required"),
        (LINE + LINE, "line 2: id '1' is already used in suite 's0', line 1"),
        (LINE.replace("}, ", "}, 1"), "suite 's0', line 1"),
        ("", "spec.evaluation.suites: the suites have no rows"),
    ],
)
def test_invalid_rows_are_errors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetInvalidError) as caught:
        rows(tmp_path, "a.jsonl", text)
    assert message in caught.value.message


def test_an_id_is_unique_in_all_suites(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalidError, match="suite 's1', line 1: id '1' is already used in suite 's0'"):
        rows(tmp_path, "a.jsonl", LINE, count=2)


@pytest.mark.parametrize(
    "prompt",
    [
        {"instruction": "Make it FIFO:\n```hcl\nlocals {\n}\n```"},
        {"instruction": "Make it FIFO:", "input": "```hcl\nlocals {\n}\n```"},
        {"instruction": "Make it FIFO:\r\n", "input": "locals {\r\n}\r\n"},
    ],
)
def test_instruction_and_input_are_divided_as_in_a_request(tmp_path: Path, prompt: dict[str, str]) -> None:
    [row] = rows(tmp_path, "a.jsonl", json.dumps({"id": "1", **prompt}))
    assert (row["instruction"], row["input"]) == ("Make it FIFO:", "locals {\n}")


ASKED = {"types": ["aws_vpc"], "names": ["a"]}
QUESTION: dict[str, Any] = {"id": "1", "instruction": "Do it.", "input": "now", "asked": ASKED, "rego": "package x"}


def questions(path: Path, *changes: dict[str, Any], suites: int = 1) -> int:
    """Return how many rows were read: the question, then one for each of the changes, dealt out to the suites."""
    lines = [json.dumps(QUESTION | {"id": str(i)} | change) for i, change in enumerate(({}, *changes), 1)]
    suites_with_files = []
    for i in range(suites):
        (path / f"{i}.jsonl").write_text("\n".join(lines[i::suites]))
        spec = SuiteSpec.model_validate({"name": f"s{i}", "stages": ["Validate", "Plan", "Intent"]})
        suites_with_files.append((spec, path / f"{i}.jsonl"))
    return len(suite_rows(suites_with_files))


@pytest.mark.parametrize(
    ("change", "suites", "location"),
    [
        ({}, 1, "suite 's0', line 2"),
        ({}, 2, "suite 's1', line 1"),
        ({"instruction": " DO\n it. "}, 1, "suite 's0', line 2"),
        ({"instruction": "Do it. now", "input": None}, 1, "suite 's0', line 2"),
        ({"cluster": 7, "difficulty": 1, "reference": "# other"}, 1, "suite 's0', line 2"),
    ],
)
def test_a_repeated_question_is_refused(tmp_path: Path, change: dict[str, Any], suites: int, location: str) -> None:
    """One answer would count as evidence twice."""
    with pytest.raises(DatasetInvalidError) as caught:
        questions(tmp_path, change, suites=suites)
    assert caught.value.message == (
        f"{location}: `instruction`, `input`, `asked` and `rego` of row '2' are the same as in row '1'; "
        "remove one of the rows or change one of these columns"
    )


def test_empty_and_absent_expectations_are_the_same_question(tmp_path: Path) -> None:
    nothing = {"asked": None, "rego": None}
    with pytest.raises(DatasetInvalidError, match="of row '3' are the same as in row '2'"):
        questions(tmp_path, nothing, {"asked": {"types": []}, "rego": ""})


def test_rows_with_other_expectations_are_other_questions(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"instruction": "Do that."},
        {"input": "later"},
        {"asked": ASKED | {"names": ["b"]}},
        {"asked": None},
        {"rego": "package y"},
        {"rego": None},
    ]
    assert questions(tmp_path, *changes) == 1 + len(changes)


def test_a_reference_is_taken_out_of_its_fence() -> None:
    plain = 'resource "aws_vpc" "a" {\n}\n'
    lines = [
        SuiteLine(id="1", instruction="Do it.", reference=text) for text in (plain, f"Sure:\n```hcl\n{plain}```\n")
    ]
    assert held_out(lines[0], None) == held_out(lines[1], None)
    assert held_out(lines[0], None).program


def test_a_reference_is_rewritten_like_training_responses() -> None:
    line = SuiteLine(id="1", instruction="Do  it.", reference='resource "aws_vpc" "a" {\n}\n')
    policy = HousePolicy.model_validate({"comment": "# ours", "tags": {"by": "us"}})
    assert held_out(line, None).program == b'resource "aws_vpc" "a" { }'
    assert b'by = "us"' in held_out(line, policy).program
    assert held_out(line, policy).prompt == b"do it."
    assert held_out(line.model_copy(update={"reference": "not { terraform"}), policy).program == b""
