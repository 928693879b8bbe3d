"""Rows of suites from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loraform_api.finetunejob import SuiteSpec
from loraform_api.verification import HousePolicy
from loraform_trainer.prepare.dataset.suites import held_out, suite_rows
from loraform_trainer.runtime.errors import DatasetInvalidError
from loraform_trainer.runtime.rows import SuiteLine

LINE = '{"id": "1", "instruction": "Do.", "asked": {"types": ["aws_vpc"]}, "difficulty": 3, "more": 1}\n'


def rows(path: Path, name: str, text: str, count: int = 1) -> list[dict[str, object]]:
    (path / name).write_text(text)
    suites = [(SuiteSpec.model_validate({"name": f"s{i}", "stages": ["Parse"]}), path / name) for i in range(count)]
    return [row.wire() for row in suite_rows(suites)]


def test_all_file_formats_say_the_same(tmp_path: Path) -> None:
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
def test_what_is_wrong_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetInvalidError) as caught:
        rows(tmp_path, "a.jsonl", text)
    assert message in caught.value.message


def test_an_id_is_unique_in_all_suites(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalidError, match="suite 's1', line 1: id '1' is already used in suite 's0'"):
        rows(tmp_path, "a.jsonl", LINE, count=2)


ASKED = {"types": ["aws_vpc"], "names": ["a"]}
QUESTION: dict[str, Any] = {"id": "1", "instruction": "Do it.", "input": "now", "asked": ASKED, "rego": "package x"}


def questions(path: Path, *changes: dict[str, Any], suites: int = 1) -> int:
    """Return how many rows were read: the question, then one for each of the changes, dealt out to the suites."""
    lines = [json.dumps(QUESTION | {"id": str(i)} | change) for i, change in enumerate(({}, *changes), 1)]
    found = []
    for i in range(suites):
        (path / f"{i}.jsonl").write_text("\n".join(lines[i::suites]))
        spec = SuiteSpec.model_validate({"name": f"s{i}", "stages": ["Validate", "Plan", "Intent"]})
        found.append((spec, path / f"{i}.jsonl"))
    return len(suite_rows(found))


@pytest.mark.parametrize(
    ("change", "suites", "place"),
    [
        ({}, 1, "suite 's0', line 2"),
        ({}, 2, "suite 's1', line 1"),
        ({"instruction": " DO\n it. "}, 1, "suite 's0', line 2"),
        ({"instruction": "Do it. now", "input": None}, 1, "suite 's0', line 2"),
        ({"cluster": 7, "difficulty": 1, "reference": "# other"}, 1, "suite 's0', line 2"),
    ],
)
def test_a_question_that_is_asked_twice_is_refused(
    tmp_path: Path, change: dict[str, Any], suites: int, place: str
) -> None:
    """One answer would count as evidence twice."""
    with pytest.raises(DatasetInvalidError) as caught:
        questions(tmp_path, change, suites=suites)
    assert caught.value.message == (
        f"{place}: `instruction`, `input`, `asked` and `rego` of row '2' are those of row '1': "
        "remove one, or write in what they differ"
    )


def test_asking_nothing_is_asking_nothing_however_it_is_written(tmp_path: Path) -> None:
    nothing = {"asked": None, "rego": None}
    with pytest.raises(DatasetInvalidError, match="of row '3' are those of row '2'"):
        questions(tmp_path, nothing, {"asked": {"types": []}, "rego": ""})


def test_rows_that_differ_in_what_is_asked_are_two_questions(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"instruction": "Do that."},
        {"input": "later"},
        {"asked": ASKED | {"names": ["b"]}},
        {"asked": None},
        {"rego": "package y"},
        {"rego": None},
    ]
    assert questions(tmp_path, *changes) == 1 + len(changes)


def test_a_reference_is_compared_as_training_answers_are_taught() -> None:
    line = SuiteLine(id="1", instruction="Do  it.", reference='resource "aws_vpc" "a" {\n}\n')
    policy = HousePolicy.model_validate({"comment": "# ours", "tags": {"by": "us"}})
    assert held_out(line, None).program == b'resource "aws_vpc" "a" { }'
    assert b'by = "us"' in held_out(line, policy).program
    assert held_out(line, policy).prompt == b"do it."
    assert held_out(line.model_copy(update={"reference": "not { terraform"}), policy).program == b""
