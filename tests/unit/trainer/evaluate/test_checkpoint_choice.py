"""The choice of the best checkpoint."""

from __future__ import annotations

import pytest

from loraform_api.evaluation import LossPoint
from loraform_api.run import CheckpointScore
from loraform_trainer.evaluate.checkpoint_choice import best, losses


@pytest.mark.parametrize(
    ("passed", "loss", "chosen"),
    [
        ({10: 7, 20: 9, 30: 8}, {10: 0.1, 20: 0.9, 30: 0.2}, 20),  # rows count before the loss
        ({10: 9, 20: 9, 30: 8}, {10: 0.3, 20: 0.4, 30: 0.1}, 10),
        ({10: 9, 20: 9, 30: 9}, {}, 30),
        ({10: 9, 20: 9, 30: 9}, {20: 0.5}, 20),  # what was measured before what was not
        ({10: 9, 20: 9}, {10: 0.5, 20: 0.5}, 20),
        ({10: 0, 20: 0}, {10: 0.4, 20: 0.5}, 10),
    ],
)
def test_passed_rows_decide_then_loss_then_the_latest_step(
    passed: dict[int, int], loss: dict[int, float], chosen: int
) -> None:
    scores = [CheckpointScore(step=step, rows=10, passed=count) for step, count in passed.items()]
    assert best(scores, loss) == chosen


def test_losses_are_by_the_step_of_their_measurement() -> None:
    log = [LossPoint(step=1, loss=2.0), LossPoint(step=5, eval_loss=0.5), LossPoint(step=5, loss=1.0)]
    assert losses(log) == {5: 0.5}
