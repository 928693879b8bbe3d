"""Counting drops, and what too many mean."""

from __future__ import annotations

from typing import Any

from loraform_api.dataset import DatasetSpec
from loraform_trainer.prepare.dataset.dropped import MAX_EXAMPLE, MAX_EXAMPLES, Ledger


def spec(**fields: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({"sources": [{"name": "a"}], "minRows": 1, **fields})


def ledger(read: int, **dropped: int) -> Ledger:
    made = Ledger(read=read)
    for check, rows in dropped.items():
        for number in range(rows):
            made.drop(check, f"a:{number}: because")
    return made


def test_counts_are_in_the_order_of_the_checks() -> None:
    made = ledger(9, TooLong=1, Duplicate=2, InvalidRow=1)
    assert list(made.counts().items()) == [("Read", 9), ("InvalidRow", 1), ("Duplicate", 2), ("TooLong", 1)]


def test_examples_are_few_short_and_without_secrets() -> None:
    made = ledger(9, Duplicate=MAX_EXAMPLES + 3)
    assert len(made.examples["Duplicate"]) == MAX_EXAMPLES
    made.drop("Invalid", "a:1: " + "x" * 1000)
    made.drop("Invalid", 'a:2: password = "hunter2" is wrong')
    assert len(made.examples["Invalid"][0]) == MAX_EXAMPLE
    assert "hunter2" not in made.examples["Invalid"][1]


def test_a_loss_above_the_limit_names_the_checks_the_largest_first() -> None:
    said = ledger(10, Duplicate=1, SyntaxError=3).refusal(spec(), 6, 6)
    assert said is not None
    assert said.startswith("4 of 10 rows were dropped, more than the 30 % of spec.dataset.checks.maxDroppedPercent: ")
    assert said.endswith("SyntaxError 3 (first: a:0: because); Duplicate 1 (first: a:0: because)")


def test_a_loss_at_the_limit_is_allowed() -> None:
    assert ledger(10, SyntaxError=3).refusal(spec(), 7, 7) is None


def test_too_few_rows_are_refused() -> None:
    said = ledger(10).refusal(spec(minRows=11), 10, 9)
    assert said == "10 of 10 rows remain, of them 9 for training; spec.dataset.minRows asks for 11. Dropped: none"
    assert ledger(10).refusal(spec(), 1, 0) is not None


def test_a_check_that_is_to_fail_fails_on_its_first_row() -> None:
    said = ledger(100, Secrets=1).refusal(spec(checks={"secrets": "Fail"}), 99, 99)
    assert said == "spec.dataset.checks.secrets is Fail, and 1 of 100 rows are Secrets; first: a:0: because"
    over = ledger(100, TooLong=1).refusal(spec(checks={"overLong": "Fail"}), 99, 99)
    assert over is not None
    assert over.startswith("spec.dataset.checks.overLong is Fail")
