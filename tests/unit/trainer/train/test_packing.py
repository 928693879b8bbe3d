"""Packs contain every row once, are full, and depend on seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loraform_trainer.train.packing import Packing, pack_rows, shape_step


def iac_lengths(rows: int, most: int = 2048) -> NDArray[np.int64]:
    """Lengths as of instruction and Terraform: median 330 tokens, a long tail."""
    drawn = np.random.default_rng(7).lognormal(np.log(330), 0.75, rows)
    return np.clip(drawn, 40, most).astype(np.int64)


def contents(packing: Packing, lengths: NDArray[np.int64], epoch: int = 0) -> list[list[int]]:
    return [pack.tolist() for pack in packing.draw(lengths, 42, epoch)]


def best_fit_decreasing(lengths: list[int], capacity: int) -> list[int]:
    """Tokens of each pack by the textbook, one row at a time."""
    used: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, tokens in enumerate(used) if tokens + length <= capacity]
        if fitting:
            used[max(fitting, key=lambda i: used[i])] += length
        else:
            used.append(length)
    return used


def test_packs_of_20000_rows_are_filled_to_99_8_percent() -> None:
    lengths = iac_lengths(20_000)
    packing = pack_rows(lengths, 2048)
    assert packing.fill >= 0.998
    assert packing.tokens == lengths.sum()
    packs = contents(packing, lengths)
    assert len(packs) == packing.packs
    assert sorted(row for pack in packs for row in pack) == list(range(20_000))
    assert max(lengths[pack].sum() for pack in packs) <= 2048


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 50))
def test_packs_equal_those_of_best_fit_decreasing(lengths: list[int], capacity: int) -> None:
    rows = np.asarray(lengths)
    packs = contents(pack_rows(rows, capacity), rows)
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    assert sorted(int(rows[pack].sum()) for pack in packs) == sorted(best_fit_decreasing(lengths, capacity))


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    lengths = iac_lengths(5000)
    packing = pack_rows(lengths, 2048)
    assert contents(packing, lengths, 1) == contents(pack_rows(lengths, 2048), lengths, 1)
    first, second = contents(packing, lengths, 0), contents(packing, lengths, 1)
    assert first != second
    together = {frozenset(pack) for pack in first} & {frozenset(pack) for pack in second}
    assert len(together) < 0.2 * len(first)  # rows of a length that few have stay together
    other = [pack.tolist() for pack in packing.draw(lengths, 43, 0)]
    assert other != first


def test_a_row_longer_than_the_capacity_has_its_own_pack() -> None:
    lengths = np.asarray([5, 90, 5, 90])
    packs = contents(pack_rows(lengths, 10), lengths)
    assert sorted(packs, key=lambda pack: (len(pack), pack))[:2] == [[1], [3]]
    assert sorted(packs, key=len)[-1] in ([0, 2], [2, 0])
    assert pack_rows(lengths, 10).fill == 1.0


def test_no_rows_give_no_packs() -> None:
    nothing = pack_rows(np.asarray([], np.int64), 100)
    assert (nothing.packs, nothing.tokens, nothing.fill) == (0, 0, 1.0)


@pytest.mark.parametrize(
    ("batch_size", "longest_pack", "processes", "packs", "capacity"),
    [
        (16, 4096, 1, 1, 1600),
        (64, 4096, 1, 2, 3200),
        (64, 512, 1, 13, 493),
        (16, 4096, 4, 4, 400),
        (64, 512, 8, 16, 400),
        (1, 4096, 1, 1, 100),
    ],
)
def test_a_step_has_the_fewest_packs_that_hold_the_batch(
    batch_size: int, longest_pack: int, processes: int, packs: int, capacity: int
) -> None:
    shape = shape_step(np.asarray([50, 150] * 10), batch_size, longest_pack, processes)
    assert (shape.packs, shape.capacity) == (packs, capacity)
    assert shape.capacity <= longest_pack


def test_steps_have_batch_size_rows_on_average() -> None:
    lengths = iac_lengths(5000, most=4096)
    for batch_size in (2, 8, 16, 64):
        shape = shape_step(lengths, batch_size, 4096)
        steps = pack_rows(lengths, shape.capacity).packs / shape.packs
        assert 0.98 * batch_size <= len(lengths) / steps <= 1.15 * batch_size
