"""Splits off the validation rows: whole clusters, in an order that the seed decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from loraform_trainer.prepare.dataset.near import Clusters

MAX_VALIDATION = 500
"""Most validation rows: more would make each measurement slower but hardly more precise."""
SELECTION = 100
"""Most validation rows on which checkpoints are compared."""


def clusters_of(
    count: int, pairs: Iterable[tuple[int, int]], keys: Iterable[Sequence[int] | NDArray[np.uint64]]
) -> Clusters:
    """Return the clusters of `count` rows: near pairs, and rows with an equal key in a column of `keys`."""
    clusters = Clusters(count)
    for one, other in pairs:
        clusters.join(one, other)
    for column in keys:
        _, first, which = np.unique(np.asarray(column, np.uint64), return_index=True, return_inverse=True)
        earliest = first[which]
        for row in np.flatnonzero(earliest != np.arange(count)).tolist():
            clusters.join(int(earliest[row]), row)
    return clusters


def validation_rows(
    kept: NDArray[np.bool_], clusters: Clusters, prompt_keys: NDArray[np.uint64], percent: int, seed: int
) -> NDArray[np.bool_]:
    """Return, for each row, whether it is a validation row: `percent` of the kept rows, at most 500, in whole clusters.

    The seed and the prompt of their first row decide the order in which clusters are chosen. A cluster that is larger
    than the number of rows still needed is skipped, so there may be no validation rows.
    """
    chosen = np.zeros(len(kept), bool)
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(kept).tolist():
        members.setdefault(clusters.find(row), []).append(row)
    remaining = min(MAX_VALIDATION, int(kept.sum()) * percent // 100)
    for rows in sorted(members.values(), key=lambda rows: _position(int(prompt_keys[rows[0]]), seed)):
        if len(rows) <= remaining:
            chosen[rows] = True
            remaining -= len(rows)
        if remaining == 0:
            break
    return chosen


def _position(key: int, seed: int) -> bytes:
    return blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
