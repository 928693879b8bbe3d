"""Filters and split, without files."""

from __future__ import annotations

from loraform_trainer.filters import Ledger, apply
from loraform_trainer.prepare import dataset_digest, split
from loraform_trainer.rows import Row


def rows(count: int) -> list[Row]:
    return [Row(f"a:{i}", f"Create bucket {i}", "", f"response {i}") for i in range(count)]


def test_filters_run_in_order_and_count_their_own_drops() -> None:
    ledger = Ledger()
    chain = [
        ("Odd", lambda row: "odd" if int(row.id[2:]) % 2 else row),
        ("Upper", lambda row: row.with_response(row.response.upper())),
        ("Two", lambda row: "two" if row.response == "RESPONSE 2" else row),
    ]
    kept = apply(chain, rows(5), ledger)
    assert [row.response for row in kept] == ["RESPONSE 0", "RESPONSE 4"]
    assert ledger.dropped == {"Odd": 2, "Two": 1}
    assert ledger.summary() == "Odd 2 (first: a:1: odd); Two 1 (first: a:2: two)"


def test_the_split_is_by_prompt_and_does_not_depend_on_the_others() -> None:
    everything = rows(2000)
    train, validation = split(everything, 10, seed=1)
    assert 150 < len(validation) < 250
    again_train, again_validation = split(reversed(everything), 10, seed=1)
    assert set(again_validation) == set(validation)
    assert set(again_train) == set(train)
    assert set(split(everything, 10, seed=2)[1]) != set(validation)


def test_equal_prompts_are_never_on_both_sides() -> None:
    twins = [Row(f"a:{i}", "same", "", f"answer {i}") for i in range(50)]
    train, validation = split(twins, 50, seed=3)
    assert not train or not validation


def test_no_validation_rows_at_zero_percent() -> None:
    assert split(rows(100), 0, seed=1)[1] == []


def test_the_digest_sees_text_order_and_side() -> None:
    first, second = rows(2)
    digests = {
        dataset_digest([first, second], []),
        dataset_digest([second, first], []),
        dataset_digest([first], [second]),
        dataset_digest([first.with_response("x"), second], []),
    }
    assert len(digests) == 4
