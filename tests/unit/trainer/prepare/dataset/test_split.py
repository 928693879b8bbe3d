"""The choice of validation rows."""

from __future__ import annotations

import numpy as np

from loraform_trainer.prepare.dataset.split import MAX_VALIDATION, clusters_of, validation_rows


def keys(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint64)


def split(count: int, pairs: list[tuple[int, int]], percent: int = 10, seed: int = 1) -> np.ndarray:
    clusters = clusters_of(count, pairs, [keys(count)])
    return validation_rows(np.ones(count, bool), clusters, keys(count), percent, seed)


def test_share_is_exact_and_the_seed_decides_the_rows() -> None:
    first = split(2000, [])
    assert first.sum() == 200
    assert np.array_equal(first, split(2000, []))
    assert not np.array_equal(first, split(2000, [], seed=2))


def test_clusters_are_not_split() -> None:
    pairs = [(row, row + 1) for row in range(0, 900, 2)] + [(900, row) for row in range(901, 1000)]
    chosen = split(1000, pairs, percent=30)
    assert all(chosen[one] == chosen[other] for one, other in pairs)
    assert 200 < chosen.sum() <= 300


def test_equal_prompts_or_programs_are_one_cluster() -> None:
    clusters = clusters_of(4, [], [[1, 2, 1, 3], [5, 6, 7, 6]])
    assert clusters.find(0) == clusters.find(2)
    assert clusters.find(1) == clusters.find(3)
    assert clusters.find(0) != clusters.find(1)


def test_one_giant_cluster_leaves_no_validation_rows() -> None:
    assert split(100, [(0, row) for row in range(1, 100)]).sum() == 0


def test_number_of_validation_rows_is_limited() -> None:
    assert split(20_000, [], percent=50).sum() == MAX_VALIDATION


def test_dropped_rows_are_not_chosen() -> None:
    kept = np.arange(100) % 2 == 0
    chosen = validation_rows(kept, clusters_of(100, [], []), keys(100), 20, 1)
    assert chosen.sum() == 10
    assert not (chosen & ~kept).any()


def test_none_are_chosen_at_zero_percent() -> None:
    assert split(100, [], percent=0).sum() == 0
