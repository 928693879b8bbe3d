"""Collective operations of the processes that train one adapter. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class TrainingGroup:
    """A group of one process. Every method is a collective: all ranks call it in the same order, or none does."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True for rank 0, which writes checkpoints, logs, adapter and reports."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` over all ranks, in place, and return it; the result has the same bits on every rank."""
        return tensor

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum `.grad` over all ranks; an absent one counts as zeros. Call it before the gradient norm is computed."""

    def any(self, flag: bool) -> bool:
        """Return True on every rank if `flag` is set on any rank."""
        return flag

    def share(self, value: T) -> T:
        """Return rank 0's `value`, which must be JSON-serialisable, on every rank."""
        return value

    def wait(self) -> None:
        """Return when every rank has called it (a barrier)."""


ALONE = TrainingGroup()
