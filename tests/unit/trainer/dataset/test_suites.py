"""Rows of suites from files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loraform_api.finetunejob import SuiteSpec
from loraform_api.verification import HousePolicy
from loraform_trainer.dataset.suites import held_out, suite_rows
from loraform_trainer.errors import DatasetInvalidError
from loraform_trainer.rows import SuiteLine

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


def test_a_reference_is_compared_as_training_answers_are_taught() -> None:
    line = SuiteLine(id="1", instruction="Do  it.", reference='resource "aws_vpc" "a" {\n}\n')
    policy = HousePolicy.model_validate({"comment": "# ours", "tags": {"by": "us"}})
    assert held_out(line, None).program == b'resource "aws_vpc" "a" { }'
    assert b'by = "us"' in held_out(line, policy).program
    assert held_out(line, policy).prompt == b"do it."
    assert held_out(line.model_copy(update={"reference": "not { terraform"}), policy).program == b""
