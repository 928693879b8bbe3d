"""The optimiser steps of a run, by number: which packs each takes, and what each process computes of them.

All epochs are one sequence, so that the number of a step says everything: a resumed run asks for the next number.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from typing_extensions import override

from loraform_api.training import TrainingSpec
from loraform_trainer.runtime.group import TrainingGroup
from loraform_trainer.train.collate import Pack, collate, filler
from loraform_trainer.train.packing import Packing, decide, shape_step
from loraform_trainer.train.token_rows import Rows


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows are trained."""

    packing: Packing
    packs_a_step: int
    epochs: int
    seed: int

    @classmethod
    def of(cls, rows: Rows, training: TrainingSpec, processes: int = 1) -> Plan:
        """Pack the rows so that a step takes `batch_size` of them on average, whole packs, as many for each process."""
        shape = shape_step(rows.lengths, training.batch_size, training.max_sequence_length, processes)
        return cls(decide(rows.lengths, shape.capacity), shape.packs, training.epochs, training.seed)

    @property
    def steps_an_epoch(self) -> int:
        return ceil(self.packing.packs / self.packs_a_step)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_an_epoch

    def describe(self, rows: int) -> str:
        """Say in one line what a step is and why."""
        return (
            f"{rows} rows fill {self.packing.packs} packs of {self.packing.capacity} tokens to {self.packing.fill:.2%};"
            f" a step takes {self.packs_a_step}, that is {rows / self.steps_an_epoch:.1f} rows on average;"
            f" {self.steps_an_epoch} steps an epoch, {self.steps} in all"
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What one process does in a step."""

    packs: tuple[Pack, ...]
    labels: int
    """Tokens that are learnt in the whole step, on all processes: what the loss is divided by."""
    tokens: int
    """Tokens of the whole step, prompts included."""
    squares: int
    """Sum of the squared lengths of the step's documents: what attention costs."""

    def pin_memory(self) -> Step:
        """Return the step in pinned memory; torch's loader calls this."""
        return Step(tuple(pack.pin_memory() for pack in self.packs), self.labels, self.tokens, self.squares)


class Steps(Dataset[Step]):
    """Every step of the run, as the group's process of this rank sees it."""

    def __init__(self, rows: Rows, plan: Plan, group: TrainingGroup) -> None:
        self.plan = plan
        self._rows = rows
        self._group = group
        self._epoch = -1
        self._order: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return self.plan.steps

    @override
    def __getitem__(self, number: int) -> Step:
        epoch, place = divmod(number, self.plan.steps_an_epoch)
        first = place * self.plan.packs_a_step
        packs = self._drawn(epoch)[first : first + self.plan.packs_a_step]
        own = [collate(self._rows, pack) for pack in packs[self._group.rank :: self._group.size]]
        if len(own) < ceil(len(packs) / self._group.size):  # the other processes have one more
            own.append(filler(self._rows))
        numbers = np.concatenate(packs)
        lengths = self._rows.lengths[numbers]
        return Step(
            packs=tuple(own),
            labels=int(self._rows.response_lengths[numbers].sum()),
            tokens=int(lengths.sum()),
            squares=int((lengths**2).sum()),
        )

    def learnt(self, steps: int) -> int:
        """Return the label tokens of the first `steps` steps, on all processes."""
        epochs, rest = divmod(steps, self.plan.steps_an_epoch)
        labels = epochs * int(self._rows.response_lengths.sum())
        for pack in self._drawn(epochs)[: rest * self.plan.packs_a_step] if rest else ():
            labels += int(self._rows.response_lengths[pack].sum())
        return labels

    def _drawn(self, epoch: int) -> list[NDArray[np.int64]]:
        if epoch != self._epoch:
            self._order = self.plan.packing.draw(self._rows.lengths, self.plan.seed, epoch)
            self._epoch = epoch
        return self._order


def packs_of(rows: Rows, numbers: NDArray[np.int64], capacity: int) -> list[Pack]:
    """Return these rows in packs of at most `capacity` tokens, for a loss without training."""
    lengths = rows.lengths[numbers]
    drawn = decide(lengths, capacity).draw(lengths, seed=0, epoch=0)
    return [collate(rows, numbers[pack]) for pack in drawn]


def spread(rows: int, most: int) -> NDArray[np.int64]:
    """Return the numbers of at most `most` of so many rows, evenly spread."""
    count = min(rows, most)
    return np.arange(count) * rows // max(1, count)
