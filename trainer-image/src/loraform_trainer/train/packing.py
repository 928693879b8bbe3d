"""Assigns rows to packs: best-fit decreasing on the histogram of lengths, and a random order for each epoch.

The assignment depends on lengths only, so it costs O(C log C) for packs of C tokens, for any number of rows, and is the
same in every epoch. Which rows of equal length share a pack, and the order of packs, is drawn for each epoch from seed
and epoch: a resumed run draws the same order, so no state is saved.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.int64]
"""Tokens of each row."""


@dataclass(frozen=True, slots=True)
class PackPattern:
    """A number of packs whose rows have the same lengths."""

    lengths: tuple[int, ...]
    packs: int


@dataclass(frozen=True, slots=True)
class Packing:
    """Every row in exactly one pack. A row of more than `capacity` tokens has a pack of its own; no row is cut."""

    capacity: int
    patterns: tuple[PackPattern, ...]

    @property
    def packs(self) -> int:
        return sum(pattern.packs for pattern in self.patterns)

    @property
    def tokens(self) -> int:
        return sum(pattern.packs * sum(pattern.lengths) for pattern in self.patterns)

    @property
    def fill(self) -> float:
        """Share of the packs' slots that hold a token, from 0 to 1; a longer row's pack has one slot for each token."""
        slots = sum(pattern.packs * max(self.capacity, sum(pattern.lengths)) for pattern in self.patterns)
        return self.tokens / slots if slots else 1.0

    def draw(self, lengths: Lengths, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        """Return the row numbers of each pack, in training order; deterministic.

        `lengths` are those that were packed.
        """
        rng = np.random.default_rng([seed, epoch])
        shuffled = rng.permutation(len(lengths))
        by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
        next_row = np.concatenate(([0], np.cumsum(np.bincount(lengths)))).tolist()  # of each length, into `by_length`
        packs: list[NDArray[np.int64]] = []
        for pattern in self.patterns:
            columns = []
            for length in pattern.lengths:
                columns.append(by_length[next_row[length] : next_row[length] + pattern.packs])
                next_row[length] += pattern.packs
            packs.extend(np.stack(columns, axis=1))
        return [packs[i] for i in rng.permutation(len(packs))]


def pack_rows(lengths: Lengths, capacity: int) -> Packing:
    """Pack rows of these lengths (each at least 1) into packs of at most `capacity` tokens."""
    counts = np.bincount(lengths) if len(lengths) else np.zeros(1, np.int64)
    open_packs = _OpenPacks()
    for length in np.flatnonzero(counts)[::-1].tolist():
        remaining = int(counts[length])
        while remaining and (room := open_packs.tightest(length)) is not None:
            remaining -= open_packs.fill(room, length, remaining)
        rows_per_pack = max(1, capacity // length)
        full, rest = divmod(remaining, rows_per_pack)
        open_packs.put(capacity - rows_per_pack * length, (length,) * rows_per_pack, full)
        open_packs.put(capacity - rest * length, (length,) * rest, int(rest > 0))
    return Packing(capacity, tuple(open_packs.patterns()))


class _OpenPacks:
    """Packs to which rows may still be added, by their free tokens (room)."""

    def __init__(self) -> None:
        self._rooms: list[int] = []
        self._by_room: defaultdict[int, list[PackPattern]] = defaultdict(list)

    def put(self, room: int, lengths: tuple[int, ...], packs: int) -> None:
        if not packs:
            return
        if not self._by_room[room]:
            insort(self._rooms, room)
        self._by_room[room].append(PackPattern(lengths, packs))

    def tightest(self, length: int) -> int | None:
        """Return the smallest room that fits a row of this length; None if no pack has it."""
        index = bisect_left(self._rooms, length)
        return self._rooms[index] if index < len(self._rooms) else None

    def fill(self, room: int, length: int, rows: int) -> int:
        """Add up to `rows` rows of this length to packs of this room, and return how many were added.

        A pack that got a row is the tightest one, so it gets as many as fit.
        """
        pattern = self._take(room)
        rows_per_pack = min(room // length, rows)
        packs = min(pattern.packs, rows // rows_per_pack)
        self.put(room - rows_per_pack * length, pattern.lengths + (length,) * rows_per_pack, packs)
        self.put(room, pattern.lengths, pattern.packs - packs)
        return packs * rows_per_pack

    def _take(self, room: int) -> PackPattern:
        pattern = self._by_room[room].pop()
        if not self._by_room[room]:
            self._rooms.pop(bisect_left(self._rooms, room))
        return pattern

    def patterns(self) -> list[PackPattern]:
        return [pattern for room in self._rooms for pattern in self._by_room[room]]


@dataclass(frozen=True, slots=True)
class StepShape:
    """The packs of an optimiser step: `packs` packs of `capacity` tokens, about `batch_size` rows in total."""

    packs: int
    capacity: int


def shape_step(lengths: Lengths, batch_size: int, longest_pack: int, processes: int = 1) -> StepShape:
    """Return the fewest packs, a multiple of `processes`, that hold `batch_size` rows of mean length."""
    tokens = batch_size * float(np.mean(lengths))
    packs = processes * ceil(ceil(tokens / longest_pack) / processes)
    return StepShape(packs, ceil(tokens / packs))
