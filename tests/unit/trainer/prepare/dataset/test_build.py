"""Builds of small data sets, with a tokenizer of one token per byte."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from loraform_api.dataset import DatasetSpec
from loraform_engine.prompting import Prompter
from loraform_engine.tokenizer import TextEncoder
from loraform_trainer.prepare.dataset.build import BuildRequest, PreparedDataset, RowFiles, build_dataset
from loraform_trainer.prepare.dataset.canonical import normal_prompt
from loraform_trainer.prepare.dataset.decontaminate import HeldOut, SuiteIndex
from loraform_trainer.prepare.dataset.report import report_lines
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.source_rows import SourceRow


def vocabulary() -> Prompter:
    """Return a tokenizer with one token per byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i + 2 for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return Prompter(TextEncoder(tokenizer, frozenset()), (), (1,), "0" * 64)


def source_rows(count: int, seed: int = 1) -> list[SourceRow]:
    """Return rows that are all different."""
    chance = Random(seed)

    def random_words(number: int) -> str:
        return " ".join("".join(chance.choices("abcdefgh", k=chance.randrange(4, 9))) for _ in range(number))

    def random_row(number: int) -> TrainingRow:
        text = f'resource "aws_sns_topic" "{random_words(1)}" {{\n  name = "{random_words(6)}"\n}}\n'
        return TrainingRow(f"a:{number}", f"Make {random_words(5)}.", "", text)

    return [(f"a:{number}", random_row(number)) for number in range(count)]


def build(
    folder: Path, rows: list[SourceRow], suite: list[HeldOut] | None = None, max_tokens: int = 1000, **fields: Any
) -> PreparedDataset:
    spec = DatasetSpec.model_validate({"sources": [{"name": "a"}], "minRows": 1, "validationPercent": 10, **fields})
    targets = RowFiles(folder / "train.arrow", folder / "validation.arrow", folder / "selection.jsonl")
    (folder / "work").mkdir(exist_ok=True)
    request = BuildRequest(spec, None, 1, max_tokens, vocabulary(), None)
    return build_dataset(request, iter(rows), SuiteIndex(suite or []), folder / "work", lambda rows_read: None, targets)


def ids(path: Path) -> list[str]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        row_ids: list[str] = stream.read_all().column("id").to_pylist()
        return row_ids


def test_rows_are_written_in_their_order_to_two_sides(tmp_path: Path) -> None:
    dataset = build(tmp_path, source_rows(1200))
    train, validation = ids(tmp_path / "train.arrow"), ids(tmp_path / "validation.arrow")
    assert dataset.counts == {"Read": 1200, "Train": 1080, "Validation": 120}
    assert (len(train), len(validation)) == (1080, 120)
    assert sorted([*train, *validation]) == sorted(f"a:{n}" for n in range(1200))
    assert train == sorted(train, key=lambda row: int(row[2:]))
    selection = [json.loads(line) for line in (tmp_path / "selection.jsonl").read_text().splitlines()]
    assert len(selection) == 100
    assert {row["id"] for row in selection} <= set(validation)
    assert set(selection[0]) == {"id", "instruction", "input"}


def test_the_same_rows_give_the_same_files_and_digest(tmp_path: Path) -> None:
    datasets = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        datasets.append(build(tmp_path / name, source_rows(300)))
    assert datasets[0] == datasets[1]
    assert (tmp_path / "one/train.arrow").read_bytes() == (tmp_path / "two/train.arrow").read_bytes()
    assert build(tmp_path, source_rows(300)[::-1]).digest != datasets[0].digest
    assert build(tmp_path, source_rows(299)).digest != datasets[0].digest


def test_each_check_counts_its_rows(tmp_path: Path) -> None:
    rows = source_rows(300)
    first, third = rows[3][1], rows[5][1]
    assert isinstance(first, TrainingRow)
    assert isinstance(third, TrainingRow)
    more: list[SourceRow] = [
        ("a:300", TrainingRow("a:300", first.instruction.upper(), "", "# more\n" + first.response)),
        ("a:302", "response: must not be empty"),
        ("a:303", TrainingRow("a:303", "long " * 400, "", third.response)),
    ]
    suite = [HeldOut("held", normal_prompt(third.instruction))]
    dataset = build(tmp_path, [*rows, *more], suite, checks={"validity": "Off"}, deduplicate={"thresholdPercent": 80})
    dropped = {check: d.examples[0].partition(": ")[0] for check, d in dataset.report.dropped.items()}
    assert dropped == {"InvalidRow": "a:302", "Duplicate": "a:300", "InSuite": "a:5", "TooLong": "a:303"}
    assert list(dataset.counts) == ["Read", *dropped, "Train", "Validation"]
    assert list(dropped) == ["InvalidRow", "Duplicate", "InSuite", "TooLong"]  # in the order of the checks
    assert dataset.refusal is None


def test_off_keeps_duplicates_and_suite_rows(tmp_path: Path) -> None:
    rows = source_rows(50)
    first = rows[0][1]
    assert isinstance(first, TrainingRow)
    again: list[SourceRow] = [("a:50", TrainingRow("a:50", first.instruction, "", first.response))]
    suite = [HeldOut("held", normal_prompt(first.instruction))]
    off = {"deduplicate": {"exact": "Off", "near": "Off"}, "decontaminate": {"suites": "Off"}}
    dataset = build(tmp_path, [*rows, *again], suite, **off)
    assert dataset.counts == {"Read": 51, "Train": 46, "Validation": 5}
    assert dataset.report.in_doubt is not None
    assert dataset.report.in_doubt.rows == 2
    sides = [{"a:0", "a:50"} & set(ids(tmp_path / name)) for name in ("train.arrow", "validation.arrow")]
    assert {len(side) for side in sides} == {0, 2}  # equal rows are on one side


def test_equal_rows_count_as_near_when_exact_is_off(tmp_path: Path) -> None:
    rows = source_rows(20)
    dataset = build(tmp_path, [*rows, *rows[:2]], deduplicate={"exact": "Off"})
    assert {check: d.rows for check, d in dataset.report.dropped.items()} == {"NearDuplicate": 2}
    assert dataset.report.near_groups[0].rows == 2


def test_a_refused_data_set_still_has_its_report(tmp_path: Path) -> None:
    dataset = build(tmp_path, [*source_rows(10), *[(f"b:{i}", "not JSON") for i in range(10)]])
    assert dataset.refusal is not None
    assert "10 of 20 rows were dropped" in dataset.refusal
    assert dataset.report.dropped["InvalidRow"].examples[0] == "b:0: not JSON"


def test_no_rows_at_all_are_refused(tmp_path: Path) -> None:
    dataset = build(tmp_path, [])
    assert dataset.refusal == ("0 of 0 rows remain, 0 of them for training; spec.dataset.minRows is 1. Dropped: none")


def test_report_has_warnings_and_text_lines(tmp_path: Path) -> None:
    one_cluster: list[SourceRow] = [
        (f"a:{i}", TrainingRow(f"a:{i}", "Same.", "", f'a "{i}" {{\n  b = {i}\n}}\n')) for i in range(40)
    ]
    dataset = build(tmp_path, one_cluster)
    assert [warning[:30] for warning in dataset.report.warnings] == [
        "no validation rows, so there w", "only 40 training rows: fewer t",
    ]  # fmt: skip
    text = "\n".join(report_lines(build(tmp_path, source_rows(30)).report))
    assert "30 rows read, 30 kept: 27 for training, 3 for validation" in text
    assert "types with more than 10 % of all resources: aws_sns_topic 100 %" in text
    assert "tokens, both: p50 " in text


def test_lengths_are_those_of_kept_rows(tmp_path: Path) -> None:
    report = build(tmp_path, source_rows(30), max_tokens=165).report
    assert report.lengths is not None
    assert report.lengths.both["p100"] <= 165
    assert report.tokens is not None
    all_lengths = build(tmp_path, source_rows(30)).report.lengths
    assert all_lengths is not None
    assert all_lengths.both["p100"] > 165


@pytest.mark.parametrize("name", ["train.arrow", "validation.arrow"])
def test_token_ids_are_those_of_the_prompt_contract(tmp_path: Path, name: str) -> None:
    build(tmp_path, source_rows(30))
    rows = {row_id: row for row_id, row in source_rows(30) if isinstance(row, TrainingRow)}
    expected = vocabulary()
    with pa.memory_map(str(tmp_path / name)) as source, pa.ipc.open_stream(source) as stream:
        for made in stream.read_all().to_pylist():
            row = rows[made["id"]]
            assert made["prompt_ids"] == expected.tokens(row.instruction, row.input)
            assert made["response_ids"] == expected.response(row.response)
