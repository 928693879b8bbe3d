"""Texts as sets of shingles: hashes of each run of five tokens, for whole batches at once in numpy.

A token is a word (letters, digits, `_`, and all bytes above ASCII) or any other single character but white space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RUN = 5
"""Tokens of a shingle. A text of fewer tokens is one shingle."""
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_WEIGHTS = np.array(
    [0x94D049BB133111EB, 0xBF58476D1CE4E5B9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53], np.uint64
)
"""One for each place in a run."""
_SPACE, _WORD, _OTHER = 0, 1, 2
_CLASS = np.full(256, _OTHER, np.uint8)
_CLASS[list(b" \t\r\n\f\v\0")] = _SPACE
_CLASS[[*range(48, 58), *range(65, 91), 95, *range(97, 123), *range(128, 256)]] = _WORD

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Sets:
    """Sets of 32-bit shingles: those of text i are `values[offsets[i]:offsets[i + 1]]`, ascending, without repeats."""

    values: U32
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> U32:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def chosen(self, numbers: NDArray[np.int64]) -> Sets:
        """Return the sets with these numbers, which ascend."""
        wanted = np.zeros(len(self), bool)
        wanted[numbers] = True
        values = self.values[np.repeat(wanted, self.sizes)]
        return Sets(values, np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes[numbers])]))


def mixed(values: U64) -> U64:
    """Return values whose bits are spread evenly (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def shingled(texts: Sequence[bytes]) -> Sets:
    """Return the shingles of each text. The same on every machine."""
    joined = b"\0".join(texts)
    ends = np.cumsum([len(text) + 1 for text in texts])
    hashes, starts = _tokens(np.frombuffer(joined, np.uint8))
    owner = np.searchsorted(ends, starts, side="right")
    counts = np.bincount(owner, minlength=len(texts))
    values, owners = _runs(hashes, owner, counts)
    return _sets(owners, values, len(texts))


def union(left: Sets, right: Sets) -> Sets:
    """Return, for each text, the shingles of both sets."""
    owners = [np.repeat(np.arange(len(s)), s.sizes) for s in (left, right)]
    return _sets(np.concatenate(owners), np.concatenate([left.values, right.values]), len(left))


def jaccard(left: U32, right: U32) -> float:
    """Return the share of all shingles that both have; 0 for two empty sets."""
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both) if both else 0.0


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
    return mixed((running[ends] - running[starts]) * inverse[starts]), starts


def _runs(hashes: U64, owner: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[U64, NDArray[np.int64]]:
    """Return the hash of each run of tokens within one text, and whose it is."""
    short = np.flatnonzero((counts > 0) & (counts < RUN))
    whole, whose = np.empty(0, np.uint64), np.empty(0, np.int64)
    if len(hashes) >= RUN:
        size = len(hashes) - RUN + 1
        whole = np.zeros(size, np.uint64)
        for place, weight in enumerate(_WEIGHTS):
            whole += hashes[place : place + size] * weight
        one_text = owner[:size] == owner[RUN - 1 :]
        whole, whose = whole[one_text], owner[:size][one_text]
    if len(short):
        places = np.concatenate([[0], np.cumsum(counts)])
        sums = [np.sum(hashes[places[i] : places[i + 1]] * _WEIGHTS[: counts[i]], dtype=np.uint64) for i in short]
        whole, whose = np.concatenate([whole, np.array(sums, np.uint64)]), np.concatenate([whose, short])
    return mixed(whole), whose


def _sets(owners: NDArray[np.int64], values: NDArray[np.uint64] | U32, count: int) -> Sets:
    if values.dtype == np.uint64:
        values = (values >> np.uint64(32)).astype(np.uint32)
    keys = (owners.astype(np.uint64) << np.uint64(32)) | values
    keys.sort()
    if len(keys):
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    sizes = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=count)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    return Sets(keys.astype(np.uint32), offsets)
