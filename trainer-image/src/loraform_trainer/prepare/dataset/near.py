"""Finds near duplicates: candidates by MinHash and locality-sensitive hashing (in Rust), then exact Jaccard similarity.

Rows are compared in their order. A row that is near a kept row is dropped. A row that is near only dropped rows is
kept, because no similar row remains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash, RMinHashDigestMatrix, RMinHashLSH

from loraform_trainer.prepare.dataset.shingles import ShingleSets, jaccard, mix_bits

MAX_VALUES = 126
"""Values of a sketch; divisible by many band heights."""
MIN_PROBABILITY = 0.98
"""Least probability that two rows at the threshold become candidates."""
SEED = 42
CHUNK = 1024
"""Rows that are sketched at once, so that their hashes fit into the processor cache."""
EARLIER, FIRST = 8, 4
"""In each bucket of a band, a row is compared with this many rows before it and with this many first rows, so that the
cost of a large bucket is not quadratic."""
SLACK = 0.15
"""Candidates whose sketches agree in less than the threshold minus this share are skipped: four standard deviations."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Near duplicates among rows, by the rows' numbers."""

    dropped: dict[int, tuple[int, float]]
    """The kept row that each dropped row is near, and their similarity."""
    pairs: list[tuple[int, int]]
    """Pairs of near rows that connect all rows of a cluster."""


class Clusters:
    """A partition of rows into clusters (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def find(self, row: int) -> int:
        """Return the first row of the cluster of `row`."""
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    def join(self, one: int, other: int) -> bool:
        """Merge the clusters of two rows; return whether they were different clusters."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first
        return first != second


def band_shape(threshold: float) -> tuple[int, int]:
    """Return the number of bands and of values in each: the fewest false candidates that `MIN_PROBABILITY` allows."""
    heights = range(1, MAX_VALUES + 1)
    possible = [h for h in heights if 1 - (1 - threshold**h) ** (MAX_VALUES // h) >= MIN_PROBABILITY]
    height = max(possible)
    return MAX_VALUES // height, height


def near_rows(rows: ShingleSets, threshold: float) -> NearDuplicates:
    """Return the near duplicates among rows, given by their shingles; `threshold` is a Jaccard similarity, 0 to 1."""
    bands, height = band_shape(threshold)
    flagged = np.flatnonzero(_shares_a_band(rows, threshold, bands, height))
    candidates = _candidates(_sketches(rows, flagged, bands * height), bands, threshold - SLACK)
    return _decide(rows, flagged[candidates], threshold)


def sketch(rows: ShingleSets, numbers: Integers, values: int) -> RMinHashDigestMatrix:
    """Return MinHash sketches of some rows, `values` numbers each."""
    sizes = rows.sizes[numbers]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
    if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:
        flat = rows.values[rows.offsets[numbers[0]] : rows.offsets[numbers[-1] + 1]]
    else:
        flat = np.concatenate([rows[i] for i in numbers] or [np.empty(0, np.uint32)])
    hashes = mix_bits(flat.astype(np.uint64))
    return RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, values, SEED)


def sketches(rows: ShingleSets, values: int) -> list[RMinHashDigestMatrix]:
    """Return the sketches of all rows, in parts of `CHUNK` rows."""
    starts = range(0, len(rows), CHUNK)
    return [sketch(rows, np.arange(start, min(start + CHUNK, len(rows))), values) for start in starts]


def _shares_a_band(rows: ShingleSets, threshold: float, bands: int, height: int) -> NDArray[np.bool_]:
    """Return, for each row, whether it shares a band with another row."""
    index = RMinHashLSH(threshold, bands * height, bands)
    parts = sketches(rows, bands * height)
    for number, part in enumerate(parts):
        index.insert_matrix(part, number * CHUNK)
    flags = [np.array(index.query_duplicate_flags_matrix(part), bool) for part in parts]
    return np.concatenate([*flags, np.empty(0, bool)]) & (rows.sizes > 0)


def _sketches(rows: ShingleSets, numbers: Integers, values: int) -> NDArray[np.uint32]:
    values_by_row = np.empty((len(numbers), values), np.uint32)
    for start in range(0, len(numbers), CHUNK):
        values_by_row[start : start + CHUNK] = sketch(rows, numbers[start : start + CHUNK], values).to_rows()
    return values_by_row


def _candidates(sketches: NDArray[np.uint32], bands: int, min_agreement: float) -> Integers:
    """Return pairs (earlier, later) of sketches that share a band and agree in a share of at least `min_agreement`.

    Sorted by the later row, then by descending agreement.
    """
    blocks = []
    for band in np.split(sketches, bands, axis=1) if len(sketches) else []:
        for pairs in _in_buckets(np.ascontiguousarray(band)):
            agreement = (sketches[pairs[:, 0]] == sketches[pairs[:, 1]]).mean(axis=1)
            chosen = agreement >= min_agreement
            blocks.append(np.column_stack([pairs[chosen], np.round(-1e6 * agreement[chosen]).astype(np.int64)]))
    if not blocks:
        return np.empty((0, 2), np.int64)
    pairs = np.unique(np.concatenate(blocks), axis=0)
    return pairs[np.lexsort((pairs[:, 2], pairs[:, 1]))][:, :2]


def _in_buckets(band: NDArray[np.uint32]) -> Iterator[Integers]:
    """Yield pairs of rows with an equal band."""
    keys = band.view(np.dtype((np.void, band.dtype.itemsize * band.shape[1]))).ravel()
    order = np.argsort(keys, kind="stable")  # stable: keeps the order of rows in a bucket
    _, starts, sizes = np.unique(keys[order], return_index=True, return_counts=True)
    start = np.repeat(starts, sizes)
    position = np.arange(len(order)) - start
    for back in range(1, EARLIER + 1):
        later = np.flatnonzero(position >= back)
        yield from _chunked(order[later - back], order[later])
    for first in range(FIRST):
        later = np.flatnonzero(position > first + EARLIER)
        yield from _chunked(order[start[later] + first], order[later])


def _chunked(earlier: Integers, later: Integers) -> Iterator[Integers]:
    for begin in range(0, len(later), 1 << 16):
        yield np.column_stack([earlier[begin : begin + (1 << 16)], later[begin : begin + (1 << 16)]])


def _decide(rows: ShingleSets, candidates: Integers, threshold: float) -> NearDuplicates:
    near = NearDuplicates({}, [])
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
