"""Turns texts into sets of shingles: hashes of each run of five tokens, computed for whole batches in numpy.

A token is a word (letters, digits, `_` and bytes above ASCII) or any other single character except white space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RUN = 5
"""Tokens of a shingle; a shorter text has one shingle."""
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_WEIGHTS = np.array(
    [0x94D049BB133111EB, 0xBF58476D1CE4E5B9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53], np.uint64
)
"""One for each position in a run."""
_SPACE, _WORD, _OTHER = 0, 1, 2
_CLASS = np.full(256, _OTHER, np.uint8)
_CLASS[list(b" \t\r\n\f\v\0")] = _SPACE
_CLASS[[*range(48, 58), *range(65, 91), 95, *range(97, 123), *range(128, 256)]] = _WORD

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class ShingleSets:
    """Sets of 32-bit shingles; those of text i are `values[offsets[i]:offsets[i + 1]]`, ascending and distinct."""

    values: U32
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> U32:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of shingles of each text."""
        return np.diff(self.offsets)

    def select(self, numbers: NDArray[np.int64]) -> ShingleSets:
        """Return the sets with these ascending numbers."""
        selected = np.zeros(len(self), bool)
        selected[numbers] = True
        values = self.values[np.repeat(selected, self.sizes)]
        return ShingleSets(values, np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes[numbers])]))


def mix_bits(values: U64) -> U64:
    """Return the values with evenly distributed bits (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def shingle_sets(texts: Sequence[bytes]) -> ShingleSets:
    """Return the shingles of each text; they are the same on every machine."""
    joined = b"\0".join(texts)
    ends = np.cumsum([len(text) + 1 for text in texts])
    hashes, starts = _tokens(np.frombuffer(joined, np.uint8))
    owner = np.searchsorted(ends, starts, side="right")
    counts = np.bincount(owner, minlength=len(texts))
    values, owners = _runs(hashes, owner, counts)
    return _sets(owners, values, len(texts))


def union(left: ShingleSets, right: ShingleSets) -> ShingleSets:
    """Return, for each text, the union of its shingles in `left` and `right`."""
    owners = [np.repeat(np.arange(len(s)), s.sizes) for s in (left, right)]
    return _sets(np.concatenate(owners), np.concatenate([left.values, right.values]), len(left))


def jaccard(left: U32, right: U32) -> float:
    """Return the Jaccard similarity of two sets of shingles, from 0 to 1; 0 for two empty sets."""
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common) if common else 0.0


def _tokens(source: NDArray[np.uint8]) -> tuple[U64, NDArray[np.int64]]:
    """Return the hash and the start of each token: differences of a running polynomial of the bytes, modulo 2**64."""
    if not len(source):
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    kinds = _CLASS[source]
    before = np.concatenate([[_SPACE], kinds[:-1]])
    inside = (kinds == _WORD) & (before == _WORD)
    starts = np.flatnonzero((kinds != _SPACE) & ~inside)
    after = np.concatenate([inside[1:], [False]])
    ends = np.flatnonzero((kinds != _SPACE) & ~after) + 1
    powers = np.full(len(source), _BASE)
    powers[0] = 1
    np.cumprod(powers, out=powers)
    running = np.zeros(len(source) + 1, np.uint64)
    np.cumsum((source.astype(np.uint64) + np.uint64(1)) * powers, out=running[1:])
    inverse = np.full(len(source), _INVERSE)
    inverse[0] = 1
    np.cumprod(inverse, out=inverse)
    return mix_bits((running[ends] - running[starts]) * inverse[starts]), starts


def _runs(hashes: U64, owner: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[U64, NDArray[np.int64]]:
    """Return the hash of each run of tokens within one text, and the number of that text."""
    short = np.flatnonzero((counts > 0) & (counts < RUN))
    sums, owners = np.empty(0, np.uint64), np.empty(0, np.int64)
    if len(hashes) >= RUN:
        size = len(hashes) - RUN + 1
        sums = np.zeros(size, np.uint64)
        for position, weight in enumerate(_WEIGHTS):
            sums += hashes[position : position + size] * weight
        one_text = owner[:size] == owner[RUN - 1 :]
        sums, owners = sums[one_text], owner[:size][one_text]
    if len(short):
        begins = np.concatenate([[0], np.cumsum(counts)])
        of_short = [np.sum(hashes[begins[i] : begins[i + 1]] * _WEIGHTS[: counts[i]], dtype=np.uint64) for i in short]
        sums, owners = np.concatenate([sums, np.array(of_short, np.uint64)]), np.concatenate([owners, short])
    return mix_bits(sums), owners


def _sets(owners: NDArray[np.int64], values: NDArray[np.uint64] | U32, count: int) -> ShingleSets:
    if values.dtype == np.uint64:
        values = (values >> np.uint64(32)).astype(np.uint32)
    keys = (owners.astype(np.uint64) << np.uint64(32)) | values
    keys.sort()
    if len(keys):
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    sizes = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=count)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    return ShingleSets(keys.astype(np.uint32), offsets)
