"""Chooses the best of several checkpoints by their scores. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from loraform_api.evaluation import LossPoint
from loraform_api.run import CheckpointScore


def losses(log: Iterable[LossPoint]) -> dict[int, float]:
    """Return the measured validation losses by step."""
    return {point.step: point.eval_loss for point in log if point.eval_loss is not None}


def best(scores: Sequence[CheckpointScore], loss: Mapping[int, float]) -> int:
    """Return the step with most passed rows; ties go to the lowest validation loss, then to the latest step."""
    return max(scores, key=lambda score: (score.passed, -loss.get(score.step, float("inf")), score.step)).step
