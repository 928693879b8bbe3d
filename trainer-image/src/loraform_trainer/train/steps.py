"""The optimiser steps of a run by number: the packs of each step, and each process' part of them.

All epochs form one sequence, so a step is determined by its number, and a resumed run continues with the next one.
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
from loraform_trainer.train.packing import Packing, pack_rows, shape_step
from loraform_trainer.train.token_rows import TokenRows


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The packing of the rows, and the number of steps."""

    packing: Packing
    packs_per_step: int
    epochs: int
    seed: int

    @classmethod
    def of(cls, rows: TokenRows, training: TrainingSpec, processes: int = 1) -> TrainingPlan:
        """Pack the rows so that a step has `batch_size` rows on average, in equally many packs for each process."""
        shape = shape_step(rows.lengths, training.batch_size, training.max_sequence_length, processes)
        return cls(pack_rows(rows.lengths, shape.capacity), shape.packs, training.epochs, training.seed)

    @property
    def steps_per_epoch(self) -> int:
        return ceil(self.packing.packs / self.packs_per_step)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def describe(self, rows: int) -> str:
        """Return a line for the log: packs, fill, and steps."""
        return (
            f"{rows} rows fill {self.packing.packs} packs of {self.packing.capacity} tokens to {self.packing.fill:.2%};"
            f" a step takes {self.packs_per_step}, that is {rows / self.steps_per_epoch:.1f} rows on average;"
            f" {self.steps_per_epoch} steps an epoch, {self.steps} in all"
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One process' packs of a step, and totals of the step over all processes."""

    packs: tuple[Pack, ...]
    labels: int
    """Label tokens of the step on all processes; the loss is divided by it."""
    tokens: int
    """Tokens of the step on all processes, prompts included."""
    squares: int
    """Sum of the squared lengths of the step's documents, for the cost of attention."""

    def pin_memory(self) -> Step:
        """Return the step in pinned memory; torch's DataLoader calls this."""
        return Step(tuple(pack.pin_memory() for pack in self.packs), self.labels, self.tokens, self.squares)


class Steps(Dataset[Step]):
    """All steps of the run, each with the packs of this rank."""

    def __init__(self, rows: TokenRows, plan: TrainingPlan, group: TrainingGroup) -> None:
        self.plan = plan
        self._rows = rows
        self._group = group
        self._epoch = -1
        self._order: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return self.plan.steps

    @override
    def __getitem__(self, number: int) -> Step:
        epoch, step_of_epoch = divmod(number, self.plan.steps_per_epoch)
        first = step_of_epoch * self.plan.packs_per_step
        packs = self._drawn(epoch)[first : first + self.plan.packs_per_step]
        own = [collate(self._rows, pack) for pack in packs[self._group.rank :: self._group.size]]
        if len(own) < ceil(len(packs) / self._group.size):  # every process needs the same number of packs
            own.append(filler(self._rows))
        numbers = np.concatenate(packs)
        lengths = self._rows.lengths[numbers]
        return Step(
            packs=tuple(own),
            labels=int(self._rows.response_lengths[numbers].sum()),
            tokens=int(lengths.sum()),
            squares=int((lengths**2).sum()),
        )

    def label_tokens(self, steps: int) -> int:
        """Return the number of label tokens in the first `steps` steps, on all processes."""
        epochs, rest = divmod(steps, self.plan.steps_per_epoch)
        labels = epochs * int(self._rows.response_lengths.sum())
        for pack in self._drawn(epochs)[: rest * self.plan.packs_per_step] if rest else ():
            labels += int(self._rows.response_lengths[pack].sum())
        return labels

    def _drawn(self, epoch: int) -> list[NDArray[np.int64]]:
        if epoch != self._epoch:
            self._order = self.plan.packing.draw(self._rows.lengths, self.plan.seed, epoch)
            self._epoch = epoch
        return self._order


def packs_of(rows: TokenRows, numbers: NDArray[np.int64], capacity: int) -> list[Pack]:
    """Return the rows of these numbers in packs of at most `capacity` tokens, for validation."""
    lengths = rows.lengths[numbers]
    drawn = pack_rows(lengths, capacity).draw(lengths, seed=0, epoch=0)
    return [collate(rows, numbers[pack]) for pack in drawn]


def spread(rows: int, limit: int) -> NDArray[np.int64]:
    """Return the numbers of at most `limit` of `rows` rows, evenly spaced."""
    count = min(rows, limit)
    return np.arange(count) * rows // max(1, count)
