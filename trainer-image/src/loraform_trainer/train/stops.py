"""Detects non-finite losses, loss spikes, and a validation loss that no longer improves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import median
from typing import Any

from loraform_trainer.runtime.errors import LossSpikeError, NonFiniteLossError

WINDOW = 50
"""Number of recent losses to which a loss is compared."""
MIN_LOSSES = 20
"""Losses in the window before which no loss counts as a spike."""
SPIKES_TO_FAIL = 5
"""Consecutive spikes that end training: a single hard batch never does."""
FACTOR = 3.0
MARGIN = 1.0
"""A spike is a loss above `FACTOR` times the median, above the median + `MARGIN` nats, and above the whole window."""


class LossWatch:
    """Checks loss and gradient norm after the backward pass, before the optimiser step."""

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=WINDOW)
        self._spikes: list[float] = []

    def check(self, step: int, loss: float, norm: float) -> None:
        """Raise NonFiniteLossError or LossSpikeError if the optimiser must not take `step`."""
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if not isfinite(value):
                raise NonFiniteLossError(f"the {name} became {value} at step {step}")
        if not self._is_spike(loss):
            self._window.extend([*self._spikes, loss])
            self._spikes.clear()
            return
        self._spikes.append(loss)
        if len(self._spikes) >= SPIKES_TO_FAIL:
            values = ", ".join(f"{value:.3g}" for value in self._spikes)
            raise LossSpikeError(
                f"the loss jumped to {values} in steps {step - len(self._spikes) + 1} to {step}, after a median of"
                f" {median(self._window):.3g} in the {len(self._window)} steps before; the last checkpoint is kept"
            )

    def _is_spike(self, loss: float) -> bool:
        if len(self._window) < MIN_LOSSES:
            return False
        typical = median(self._window)
        return loss > max(FACTOR * typical, typical + MARGIN, *self._window)


def exhausted(history: Iterable[Mapping[str, Any]], patience: int) -> bool:
    """Return True if none of the last `patience` validation losses is below the best one before them."""
    losses = validation_losses(history)
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])


def validation_losses(history: Iterable[Mapping[str, Any]]) -> Sequence[float]:
    return [entry["eval_loss"] for entry in history if "eval_loss" in entry]
