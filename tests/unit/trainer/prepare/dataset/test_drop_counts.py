"""Counts of dropped rows, and when a data set is refused."""

from __future__ import annotations

from typing import Any

from loraform_api.dataset import DatasetSpec
from loraform_trainer.prepare.dataset.drop_counts import MAX_EXAMPLE, MAX_EXAMPLES, DropCounts


def spec(**fields: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({"sources": [{"name": "a"}], "minRows": 1, **fields})


def counts_of(read: int, **dropped: int) -> DropCounts:
    drops = DropCounts(read=read)
    for check, rows in dropped.items():
        for number in range(rows):
            drops.add(check, f"a:{number}: because")
    return drops


def test_examples_are_limited_and_without_secrets() -> None:
    drops = counts_of(9, Duplicate=MAX_EXAMPLES + 3)
    assert len(drops.examples["Duplicate"]) == MAX_EXAMPLES
    drops.add("Invalid", "a:1: " + "x" * 1000)
    drops.add("Invalid", 'a:2: password = "hunter2" is wrong')
    assert len(drops.examples["Invalid"][0]) == MAX_EXAMPLE
    assert "hunter2" not in drops.examples["Invalid"][1]


def test_too_many_dropped_rows_are_refused_naming_the_largest_check_first() -> None:
    message = counts_of(10, Duplicate=1, SyntaxError=3).refusal(spec(), 6, 6)
    assert message is not None
    assert message.startswith(
        "4 of 10 rows were dropped, more than the 30 % of spec.dataset.checks.maxDroppedPercent: "
    )
    assert message.endswith("SyntaxError 3 (first: a:0: because); Duplicate 1 (first: a:0: because)")


def test_dropped_rows_at_the_limit_are_allowed() -> None:
    assert counts_of(10, SyntaxError=3).refusal(spec(), 7, 7) is None


def test_too_few_rows_are_refused() -> None:
    message = counts_of(10).refusal(spec(minRows=11), 10, 9)
    assert message == "10 of 10 rows remain, 9 of them for training; spec.dataset.minRows is 11. Dropped: none"
    assert counts_of(10).refusal(spec(), 1, 0) is not None


def test_a_check_set_to_fail_refuses_the_first_row() -> None:
    message = counts_of(100, Secrets=1).refusal(spec(checks={"secrets": "Fail"}), 99, 99)
    assert message == "spec.dataset.checks.secrets is Fail, and 1 of 100 rows failed check Secrets; first: a:0: because"
    over = counts_of(100, TooLong=1).refusal(spec(checks={"overLong": "Fail"}), 99, 99)
    assert over is not None
    assert over.startswith("spec.dataset.checks.overLong is Fail")
