"""All checks together on small data sets, with a tokenizer of a few letters."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from loraform_api.dataset import DatasetSpec
from loraform_trainer.prepare.dataset.build import Job, Outcome, Targets, prepare_rows
from loraform_trainer.prepare.dataset.canonical import normal_prompt
from loraform_trainer.prepare.dataset.decontaminate import HeldOut, SuiteIndex
from loraform_trainer.prepare.dataset.pipeline import Found
from loraform_trainer.prepare.dataset.report import lines
from loraform_trainer.runtime.rows import Row
from loraform_trainer.runtime.tokens import BaseTokens


def vocabulary() -> BaseTokens:
    """One token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i + 2 for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return BaseTokens(tokenizer, None, 1, "0" * 64)


def found(count: int, seed: int = 1) -> list[Found]:
    """Return rows that all differ."""
    chance = Random(seed)

    def words(number: int) -> str:
        return " ".join("".join(chance.choices("abcdefgh", k=chance.randrange(4, 9))) for _ in range(number))

    def one(number: int) -> Row:
        text = f'resource "aws_sns_topic" "{words(1)}" {{\n  name = "{words(6)}"\n}}\n'
        return Row(f"a:{number}", f"Make {words(5)}.", "", text)

    return [(f"a:{number}", one(number)) for number in range(count)]


def prepared(
    folder: Path, rows: list[Found], suite: list[HeldOut] | None = None, longest: int = 1000, **fields: Any
) -> Outcome:
    spec = DatasetSpec.model_validate({"sources": [{"name": "a"}], "minRows": 1, "validationPercent": 10, **fields})
    targets = Targets(folder / "train.arrow", folder / "validation.arrow", folder / "selection.jsonl")
    (folder / "work").mkdir(exist_ok=True)
    job = Job(spec, None, 1, longest, vocabulary(), None)
    return prepare_rows(job, iter(rows), SuiteIndex(suite or []), folder / "work", lambda read: None, targets)


def ids(path: Path) -> list[str]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        found: list[str] = stream.read_all().column("id").to_pylist()
        return found


def test_rows_are_written_in_their_order_on_two_sides(tmp_path: Path) -> None:
    outcome = prepared(tmp_path, found(1200))
    train, validation = ids(tmp_path / "train.arrow"), ids(tmp_path / "validation.arrow")
    assert outcome.counts == {"Read": 1200, "Train": 1080, "Validation": 120}
    assert (len(train), len(validation)) == (1080, 120)
    assert sorted([*train, *validation]) == sorted(f"a:{n}" for n in range(1200))
    assert train == sorted(train, key=lambda row: int(row[2:]))
    selection = [json.loads(line) for line in (tmp_path / "selection.jsonl").read_text().splitlines()]
    assert len(selection) == 100
    assert {row["id"] for row in selection} <= set(validation)
    assert set(selection[0]) == {"id", "instruction", "input"}


def test_the_same_rows_give_the_same_files_and_digest(tmp_path: Path) -> None:
    outcomes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        outcomes.append(prepared(tmp_path / name, found(300)))
    assert outcomes[0] == outcomes[1]
    assert (tmp_path / "one/train.arrow").read_bytes() == (tmp_path / "two/train.arrow").read_bytes()
    assert prepared(tmp_path, found(300)[::-1]).digest != outcomes[0].digest
    assert prepared(tmp_path, found(299)).digest != outcomes[0].digest


def test_each_check_counts_its_own(tmp_path: Path) -> None:
    rows = found(300)
    first, third = rows[3][1], rows[5][1]
    assert isinstance(first, Row)
    assert isinstance(third, Row)
    more: list[Found] = [
        ("a:300", Row("a:300", first.instruction.upper(), "", "# more\n" + first.response)),
        ("a:302", "response: must not be empty"),
        ("a:303", Row("a:303", "long " * 400, "", third.response)),
    ]
    suite = [HeldOut("held", normal_prompt(third.instruction))]
    outcome = prepared(
        tmp_path, [*rows, *more], suite, checks={"validity": "Off"}, deduplicate={"thresholdPercent": 80}
    )
    dropped = {check: d.examples[0].partition(": ")[0] for check, d in outcome.report.dropped.items()}
    assert dropped == {"InvalidRow": "a:302", "Duplicate": "a:300", "InSuite": "a:5", "TooLong": "a:303"}
    assert outcome.refusal is None


def test_off_keeps_repeated_and_leaked_rows(tmp_path: Path) -> None:
    rows = found(50)
    first = rows[0][1]
    assert isinstance(first, Row)
    again: list[Found] = [("a:50", Row("a:50", first.instruction, "", first.response))]
    suite = [HeldOut("held", normal_prompt(first.instruction))]
    off = {"deduplicate": {"exact": "Off", "near": "Off"}, "decontaminate": {"suites": "Off"}}
    outcome = prepared(tmp_path, [*rows, *again], suite, **off)
    assert outcome.counts == {"Read": 51, "Train": 46, "Validation": 5}
    assert outcome.report.in_doubt is not None
    assert outcome.report.in_doubt.rows == 2
    sides = [{"a:0", "a:50"} & set(ids(tmp_path / name)) for name in ("train.arrow", "validation.arrow")]
    assert {len(side) for side in sides} == {0, 2}  # equal rows are on one side


def test_near_rows_are_counted_where_exact_ones_are_not_looked_for(tmp_path: Path) -> None:
    rows = found(20)
    outcome = prepared(tmp_path, [*rows, *rows[:2]], deduplicate={"exact": "Off"})
    assert {check: d.rows for check, d in outcome.report.dropped.items()} == {"NearDuplicate": 2}
    assert outcome.report.near_groups[0].rows == 2


def test_a_refused_data_set_still_has_its_report(tmp_path: Path) -> None:
    outcome = prepared(tmp_path, [*found(10), *[(f"b:{i}", "not JSON") for i in range(10)]])
    assert outcome.refusal is not None
    assert "10 of 20 rows were dropped" in outcome.refusal
    assert outcome.report.dropped["InvalidRow"].examples[0] == "b:0: not JSON"


def test_no_rows_at_all_are_refused(tmp_path: Path) -> None:
    outcome = prepared(tmp_path, [])
    assert outcome.refusal == (
        "0 of 0 rows remain, of them 0 for training; spec.dataset.minRows asks for 1. Dropped: none"
    )


def test_the_report_tells_people_what_they_should_know(tmp_path: Path) -> None:
    one_cluster: list[Found] = [
        (f"a:{i}", Row(f"a:{i}", "Same.", "", f'a "{i}" {{\n  b = {i}\n}}\n')) for i in range(40)
    ]
    outcome = prepared(tmp_path, one_cluster)
    assert [warning[:30] for warning in outcome.report.warnings] == [
        "no rows for validation: the ro", "40 training rows; fewer than 5",
    ]  # fmt: skip
    text = "\n".join(lines(prepared(tmp_path, found(30)).report))
    assert "30 rows read, 30 kept: 27 for training, 3 for validation" in text
    assert "types with more than 10 % of all resources: aws_sns_topic 100 %" in text
    assert "tokens, both: p50 " in text


def test_lengths_are_of_the_rows_that_stay(tmp_path: Path) -> None:
    report = prepared(tmp_path, found(30), longest=165).report
    assert report.lengths is not None
    assert report.lengths.both["p100"] <= 165
    assert report.tokens is not None
    longest = prepared(tmp_path, found(30)).report.lengths
    assert longest is not None
    assert longest.both["p100"] > 165


@pytest.mark.parametrize("name", ["train.arrow", "validation.arrow"])
def test_token_ids_are_those_of_the_prompt_contract(tmp_path: Path, name: str) -> None:
    prepared(tmp_path, found(30))
    rows = {row_id: row for row_id, row in found(30) if isinstance(row, Row)}
    words = vocabulary()
    with pa.memory_map(str(tmp_path / name)) as source, pa.ipc.open_stream(source) as stream:
        for made in stream.read_all().to_pylist():
            row = rows[made["id"]]
            assert made["prompt_ids"] == words.prompt(row.instruction, row.input)
            assert made["response_ids"] == words.response(row.response)
