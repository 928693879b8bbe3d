"""What the training processes of a run decide and sum together; a process alone decides for itself. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Group:
    """A process alone. Every method is collective: all ranks call it in the same order, or none does."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """This rank writes what the run leaves: checkpoints, logs, adapter, reports."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add `tensor` up over all ranks, in place, and return it; every rank gets the same bits."""
        return tensor

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add `.grad` up over all ranks; an absent one counts as zeros. Call before the norm is taken."""

    def any(self, flag: bool) -> bool:
        """Say whether `flag` is set on any rank."""
        return flag

    def share(self, value: T) -> T:
        """Return rank 0's `value` (anything that JSON can hold) on every rank."""
        return value

    def wait(self) -> None:
        """Return when every rank is here."""


ALONE = Group()
