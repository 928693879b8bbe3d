"""Which rows share a pack: best-fit decreasing on the histogram of lengths, and the order that seed and epoch draw.

The decision is about lengths alone, so it costs O(C log C) for packs of C tokens however many rows there are, and is
the same for each epoch. Which of the equally long rows go together, and in which order packs are trained, is drawn
anew for each epoch from the seed: a resumed run finds the same order without having kept it.
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
class Kind:
    """Packs with the same content, as far as lengths tell."""

    lengths: tuple[int, ...]
    packs: int


@dataclass(frozen=True, slots=True)
class Packing:
    """Every row in exactly one pack. A row of more than `capacity` tokens has a pack of its own and is never cut."""

    capacity: int
    kinds: tuple[Kind, ...]

    @property
    def packs(self) -> int:
        return sum(kind.packs for kind in self.kinds)

    @property
    def tokens(self) -> int:
        return sum(kind.packs * sum(kind.lengths) for kind in self.kinds)

    @property
    def fill(self) -> float:
        """Share of the packs' slots that hold a token (a longer row's pack has as many slots as it has tokens)."""
        slots = sum(kind.packs * max(self.capacity, sum(kind.lengths)) for kind in self.kinds)
        return self.tokens / slots if slots else 1.0

    def draw(self, lengths: Lengths, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        """Return the row numbers of each pack, in the order of training.

        `lengths` are those that the packing was decided for. Equal arguments give an equal answer.
        """
        chance = np.random.default_rng([seed, epoch])
        shuffled = chance.permutation(len(lengths))
        by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
        taken = np.concatenate(([0], np.cumsum(np.bincount(lengths)))).tolist()  # where a length's unused rows begin
        packs: list[NDArray[np.int64]] = []
        for kind in self.kinds:
            columns = []
            for length in kind.lengths:
                columns.append(by_length[taken[length] : taken[length] + kind.packs])
                taken[length] += kind.packs
            packs.extend(np.stack(columns, axis=1))
        return [packs[i] for i in chance.permutation(len(packs))]


def decide(lengths: Lengths, capacity: int) -> Packing:
    """Pack rows of these lengths (each at least 1) into packs of at most `capacity` tokens."""
    counts = np.bincount(lengths) if len(lengths) else np.zeros(1, np.int64)
    opened = _Open()
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left and (room := opened.tightest(length)) is not None:
            left -= opened.fill(room, length, left)
        each = max(1, capacity // length)
        whole, rest = divmod(left, each)
        opened.put(capacity - each * length, (length,) * each, whole)
        opened.put(capacity - rest * length, (length,) * rest, int(rest > 0))
    return Packing(capacity, tuple(opened.kinds()))


class _Open:
    """Packs under way, by the room that is left in them."""

    def __init__(self) -> None:
        self._rooms: list[int] = []
        self._by_room: defaultdict[int, list[Kind]] = defaultdict(list)

    def put(self, room: int, lengths: tuple[int, ...], packs: int) -> None:
        if not packs:
            return
        if not self._by_room[room]:
            insort(self._rooms, room)
        self._by_room[room].append(Kind(lengths, packs))

    def tightest(self, length: int) -> int | None:
        """Return the least room that takes one row more."""
        at = bisect_left(self._rooms, length)
        return self._rooms[at] if at < len(self._rooms) else None

    def fill(self, room: int, length: int, rows: int) -> int:
        """Put up to `rows` rows into packs of that room, and return how many.

        A pack that took one is the tightest, so it takes the next until none fits.
        """
        kind = self._take(room)
        each = min(room // length, rows)
        packs = min(kind.packs, rows // each)
        self.put(room - each * length, kind.lengths + (length,) * each, packs)
        self.put(room, kind.lengths, kind.packs - packs)
        return packs * each

    def _take(self, room: int) -> Kind:
        kind = self._by_room[room].pop()
        if not self._by_room[room]:
            self._rooms.pop(bisect_left(self._rooms, room))
        return kind

    def kinds(self) -> list[Kind]:
        return [kind for room in self._rooms for kind in self._by_room[room]]


@dataclass(frozen=True, slots=True)
class StepShape:
    """What an optimiser step takes: `packs` packs of `capacity` tokens, about `batch_size` rows in all."""

    packs: int
    capacity: int


def shape_step(lengths: Lengths, batch_size: int, longest_pack: int, processes: int = 1) -> StepShape:
    """Return as few packs as hold `batch_size` rows of mean length, a multiple of `processes`."""
    tokens = batch_size * float(np.mean(lengths))
    packs = processes * ceil(ceil(tokens / longest_pack) / processes)
    return StepShape(packs, ceil(tokens / packs))
