"""Collective operations of a run's training processes, and their implementation for one process. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class RankGroup:
    """The ranks of a run; this class has one. Its methods are collective: all ranks call them in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes checkpoints, logs, adapter and reports."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` over all ranks in place and return it; the result is bit-identical on every rank."""
        return tensor

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum `.grad` over all ranks in place; None counts as zeros. Call before clipping by norm."""

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank."""
        return flag

    def share(self, value: T) -> T:
        """Return rank 0's `value`, which must be JSON-serialisable, on every rank."""
        return value

    def wait(self) -> None:
        """Block until every rank has called this (a barrier)."""


ALONE = RankGroup()
"""The group of a run with one training process."""
