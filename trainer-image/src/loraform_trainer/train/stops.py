"""When training ends before its time: numbers that are none, a loss that jumps, one that no longer falls."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import median
from typing import Any

from loraform_trainer.runtime.errors import LossSpikeError, NonFiniteLossError

WINDOW = 50
"""Steps that say what an ordinary loss is."""
ENOUGH = 20
"""Steps before which nothing is called a jump."""
IN_A_ROW = 5
"""Jumps, one after another, that end training: a single hard batch never does."""
TIMES = 3.0
MARGIN = 1.0
"""A jump is a loss above `TIMES` the median and above the median + `MARGIN` nats, and above all of the window."""


class LossWatch:
    """Looks at loss and gradient norm between the backward pass and the optimiser step, which it prevents."""

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=WINDOW)
        self._jumps: list[float] = []

    def look(self, step: int, loss: float, norm: float) -> None:
        """Raise NonFiniteLossError or LossSpikeError when `step` must not be taken."""
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if not isfinite(value):
                raise NonFiniteLossError(f"the {name} became {value} at step {step}")
        if not self._is_jump(loss):
            self._usual.extend([*self._jumps, loss])
            self._jumps.clear()
            return
        self._jumps.append(loss)
        if len(self._jumps) >= IN_A_ROW:
            values = ", ".join(f"{value:.3g}" for value in self._jumps)
            raise LossSpikeError(
                f"the loss jumped to {values} in steps {step - len(self._jumps) + 1} to {step}, after a median of"
                f" {median(self._usual):.3g} in the {len(self._usual)} steps before; the last checkpoint is kept"
            )

    def _is_jump(self, loss: float) -> bool:
        if len(self._usual) < ENOUGH:
            return False
        usual = median(self._usual)
        return loss > max(TIMES * usual, usual + MARGIN, *self._usual)


def exhausted(history: Iterable[Mapping[str, Any]], patience: int) -> bool:
    """Say whether the last `patience` validation losses of a history were no better than the best before."""
    losses = validation_losses(history)
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])


def validation_losses(history: Iterable[Mapping[str, Any]]) -> Sequence[float]:
    return [entry["eval_loss"] for entry in history if "eval_loss" in entry]
