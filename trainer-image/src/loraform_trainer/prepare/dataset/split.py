"""Which rows are kept out of training for the validation loss: whole clusters, chosen by a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from loraform_trainer.prepare.dataset.near import Clusters

MOST_VALIDATION = 500
"""Validation rows beyond which the loss gets no more certain, but every measurement of it dearer."""
SELECTION = 100
"""Validation rows on which checkpoints are compared."""


def clusters_of(
    count: int, pairs: Iterable[tuple[int, int]], keys: Iterable[Sequence[int] | NDArray[np.uint64]]
) -> Clusters:
    """Return what belongs together: near pairs, and rows with an equal key in one of `keys` (prompts, programs)."""
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
    """Say of each row whether it is for validation: `percent` of the kept ones, at most 500, clusters never cut.

    Clusters are taken in an order that the seed and the prompt of their first row decide; one that is larger than what
    is still wanted is passed over, so that there may be none.
    """
    chosen = np.zeros(len(kept), bool)
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(kept).tolist():
        members.setdefault(clusters.find(row), []).append(row)
    wanted = min(MOST_VALIDATION, int(kept.sum()) * percent // 100)
    for rows in sorted(members.values(), key=lambda rows: _position(int(prompt_keys[rows[0]]), seed)):
        if len(rows) <= wanted:
            chosen[rows] = True
            wanted -= len(rows)
        if wanted == 0:
            break
    return chosen


def _position(key: int, seed: int) -> bytes:
    return blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
