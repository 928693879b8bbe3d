"""Near duplicates among random sets of known similarity."""

from __future__ import annotations

import numpy as np
import pytest

from loraform_trainer.prepare.dataset.near import Clusters, band_shape, near_rows
from loraform_trainer.prepare.dataset.shingles import ShingleSets, jaccard

SIZE = 200


def sets(*values: np.ndarray) -> ShingleSets:
    rows = [np.unique(v.astype(np.uint32)) for v in values]
    return ShingleSets(np.concatenate(rows), np.cumsum([0, *(len(r) for r in rows)]))


def pairs(similarity: float, count: int) -> ShingleSets:
    """Return pairs of rows (2i, 2i + 1) of a similarity; rows of different pairs have nothing in common."""
    chance = np.random.default_rng(1)
    shared = round(2 * SIZE * similarity / (1 + similarity))
    rows = []
    for _ in range(count):
        values = chance.integers(0, 2**32, 2 * SIZE - shared, dtype=np.uint32)
        rows += [values[:SIZE], values[SIZE - shared :]]
    return sets(*rows)


@pytest.mark.parametrize(("similarity", "least"), [(0.81, 0.95), (0.9, 1.0), (1.0, 1.0)])
def test_near_pairs_are_found(similarity: float, least: float) -> None:
    rows = pairs(similarity, 300)
    near = near_rows(rows, 0.8)
    assert len(near.dropped) >= least * 300
    assert all(kept == row - 1 for row, (kept, _) in near.dropped.items())
    row, (kept, similarity_of_pair) = next(iter(near.dropped.items()))
    assert similarity_of_pair == jaccard(rows[kept], rows[row])


def test_pairs_below_the_threshold_are_kept() -> None:
    assert near_rows(pairs(0.77, 300), 0.8).dropped == {}


def test_a_row_near_only_a_dropped_row_is_kept() -> None:
    values = np.arange(1, 300) * 7919
    first, second, third = values[:200], values[15:215], values[30:230]  # neighbours 0.86, the outer two 0.74
    near = near_rows(sets(first, second, third), 0.8)
    assert set(near.dropped) == {1}
    assert sorted(near.pairs) == [(0, 1), (1, 2)]  # for the split, all three belong together


def test_many_equal_rows_have_no_quadratic_cost() -> None:
    same = np.arange(200) * 7919
    near = near_rows(sets(*([same] * 3000)), 0.8)
    assert len(near.dropped) == 2999
    assert {kept for kept, _ in near.dropped.values()} == {0}


def test_empty_rows_and_no_rows_are_near_nothing() -> None:
    nothing = np.empty(0)
    assert near_rows(sets(nothing, nothing, np.arange(5)), 0.8).dropped == {}
    assert near_rows(ShingleSets(np.empty(0, np.uint32), np.zeros(1, np.int64)), 0.8).dropped == {}


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.99])
def test_band_shape_finds_rows_at_the_threshold(threshold: float) -> None:
    bands, height = band_shape(threshold)
    assert 1 - (1 - threshold**height) ** bands >= 0.98
    assert bands * height <= 126


def test_clusters_are_named_by_their_earliest_row() -> None:
    clusters = Clusters(5)
    assert clusters.join(4, 2)
    assert clusters.join(1, 4)
    assert not clusters.join(1, 2)
    assert [clusters.find(row) for row in range(5)] == [0, 1, 1, 3, 1]
