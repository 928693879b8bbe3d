"""Near duplicates: candidates by MinHash and locality-sensitive hashing in Rust, decided by exact Jaccard similarity.

Rows are taken in their order. One that is near a row that is kept goes; one that is near only rows that went stays,
for training then holds nothing like it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash, RMinHashDigestMatrix, RMinHashLSH

from loraform_trainer.prepare.dataset.shingles import Sets, jaccard, mixed

MOST_VALUES = 126
"""Values of a sketch; divisible by most band heights."""
SURE = 0.98
"""Least probability that two rows at the threshold become candidates."""
SEED = 42
CHUNK = 1024
"""Rows that are sketched at once: their hashes stay in the processor's cache."""
EARLIER, FIRST = 8, 4
"""A row is compared with so many rows before it in a band's bucket and with the first of the bucket: a bucket that
boilerplate fills costs no square of its size."""
SLACK = 0.15
"""Candidates whose sketches agree by less than the threshold minus this are passed over: four standard deviations."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Near:
    """Which rows are near, by their numbers."""

    dropped: dict[int, tuple[int, float]]
    """A row to the kept one that it is near, and how near."""
    pairs: list[tuple[int, int]]
    """Pairs of near rows that join all that belong together."""


class Clusters:
    """Rows that belong together (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def find(self, row: int) -> int:
        """Return the row that stands for all that belong to `row`."""
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    def join(self, one: int, other: int) -> bool:
        """Put two rows together; say whether they were apart. The earliest row stands for all."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first
        return first != second


def shape(threshold: float) -> tuple[int, int]:
    """Return (bands, values of a band): as few false candidates as `SURE` allows at `threshold`."""
    heights = range(1, MOST_VALUES + 1)
    sure = [h for h in heights if 1 - (1 - threshold**h) ** (MOST_VALUES // h) >= SURE]
    height = max(sure)
    return MOST_VALUES // height, height


def near_rows(rows: Sets, threshold: float) -> Near:
    """Return the near duplicates among rows, given as sets of shingles; `threshold` is a Jaccard similarity."""
    bands, height = shape(threshold)
    flagged = np.flatnonzero(_flags(rows, threshold, bands, height))
    candidates = _candidates(_sketches(rows, flagged, bands * height), bands, threshold - SLACK)
    return _decided(rows, flagged[candidates], threshold)


def sketched(rows: Sets, numbers: Integers, values: int) -> RMinHashDigestMatrix:
    """Return MinHash sketches of some rows, `values` numbers each."""
    sizes = rows.sizes[numbers]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
    if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:
        flat = rows.values[rows.offsets[numbers[0]] : rows.offsets[numbers[-1] + 1]]
    else:
        flat = np.concatenate([rows[i] for i in numbers] or [np.empty(0, np.uint32)])
    hashes = mixed(flat.astype(np.uint64))
    return RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, values, SEED)


def sketches(rows: Sets, values: int) -> list[RMinHashDigestMatrix]:
    """Return the sketches of all rows, in parts of `CHUNK` rows."""
    starts = range(0, len(rows), CHUNK)
    return [sketched(rows, np.arange(start, min(start + CHUNK, len(rows))), values) for start in starts]


def _flags(rows: Sets, threshold: float, bands: int, height: int) -> NDArray[np.bool_]:
    """Say of each row whether it shares a band with another one."""
    index = RMinHashLSH(threshold, bands * height, bands)
    parts = sketches(rows, bands * height)
    for number, part in enumerate(parts):
        index.insert_matrix(part, number * CHUNK)
    found = [np.array(index.query_duplicate_flags_matrix(part), bool) for part in parts]
    return np.concatenate([*found, np.empty(0, bool)]) & (rows.sizes > 0)


def _sketches(rows: Sets, numbers: Integers, values: int) -> NDArray[np.uint32]:
    found = np.empty((len(numbers), values), np.uint32)
    for start in range(0, len(numbers), CHUNK):
        found[start : start + CHUNK] = sketched(rows, numbers[start : start + CHUNK], values).to_rows()
    return found


def _candidates(sketches: NDArray[np.uint32], bands: int, least: float) -> Integers:
    """Return pairs (earlier, later) of sketches that share a band and agree in a share of at least `least`.

    Sorted by the later one, those that agree most first.
    """
    found = []
    for band in np.split(sketches, bands, axis=1) if len(sketches) else []:
        for pairs in _in_buckets(np.ascontiguousarray(band)):
            agreement = (sketches[pairs[:, 0]] == sketches[pairs[:, 1]]).mean(axis=1)
            chosen = agreement >= least
            found.append(np.column_stack([pairs[chosen], np.round(-1e6 * agreement[chosen]).astype(np.int64)]))
    if not found:
        return np.empty((0, 2), np.int64)
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[np.lexsort((pairs[:, 2], pairs[:, 1]))][:, :2]


def _in_buckets(band: NDArray[np.uint32]) -> Iterator[Integers]:
    """Yield pairs of rows with an equal band."""
    keys = band.view(np.dtype((np.void, band.dtype.itemsize * band.shape[1]))).ravel()
    order = np.argsort(keys, kind="stable")  # stable: rows of a bucket stay in their order
    _, starts, sizes = np.unique(keys[order], return_index=True, return_counts=True)
    start = np.repeat(starts, sizes)
    place = np.arange(len(order)) - start
    for back in range(1, EARLIER + 1):
        later = np.flatnonzero(place >= back)
        yield from _chunked(order[later - back], order[later])
    for first in range(FIRST):
        later = np.flatnonzero(place > first + EARLIER)
        yield from _chunked(order[start[later] + first], order[later])


def _chunked(earlier: Integers, later: Integers) -> Iterator[Integers]:
    for at in range(0, len(later), 1 << 16):
        yield np.column_stack([earlier[at : at + (1 << 16)], later[at : at + (1 << 16)]])


def _decided(rows: Sets, candidates: Integers, threshold: float) -> Near:
    near = Near({}, [])
    clusters = Clusters(len(rows))
    for earlier, later in candidates.tolist():
        undecided = later not in near.dropped and earlier not in near.dropped
        if not undecided and clusters.find(earlier) == clusters.find(later):
            continue
        similarity = jaccard(rows[earlier], rows[later])
        if similarity < threshold:
            continue
        if undecided:
            near.dropped[later] = (earlier, similarity)
        if clusters.join(earlier, later):
            near.pairs.append((earlier, later))
    return near
