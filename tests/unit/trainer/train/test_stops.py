"""Early ends of training, on synthetic loss curves."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import pytest

from loraform_trainer.runtime.errors import LossSpikeError, NonFiniteLossError
from loraform_trainer.train.stops import LossWatch, exhausted


def watch(losses: Iterable[float]) -> int:
    """Look at each loss; return how many there were."""
    looking, step = LossWatch(), 0
    for step, loss in enumerate(losses, 1):
        looking.check(step, loss, 1.0)
    return step


def decaying(steps: int, start: float, end: float) -> list[float]:
    return [end + (start - end) * math.exp(-5 * i / steps) for i in range(steps)]


def log_normal(rng: random.Random) -> float:
    return rng.lognormvariate(0, 0.4)


def heavy_tailed(rng: random.Random) -> float:
    """One batch in twenty is ten times as hard."""
    return rng.uniform(0.7, 1.3) * (10.0 if rng.random() < 0.05 else 1.0)


def bad_stretch(rng: random.Random) -> float:
    return rng.choice([0.2, 0.5, 1.0, 1.5, 2.5])


@pytest.mark.parametrize("noise", [log_normal, heavy_tailed, bad_stretch])
@pytest.mark.parametrize("start", [11.0, 1.5, 0.05])
def test_ordinary_noise_is_not_a_spike(noise: Callable[[random.Random], float], start: float) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        curve = [loss * noise(rng) for loss in decaying(2000, start, start / 20)]
        assert watch(curve) == len(curve)


def test_a_loss_change_between_epochs_is_not_a_spike() -> None:
    assert watch(decaying(300, 2.0, 0.5) + [0.3] * 300) == 600
    assert watch([0.3] * 300 + [0.9] * 300) == 600


def test_five_consecutive_spikes_end_the_run() -> None:
    curve = [*decaying(100, 2.0, 0.5), 6.1, 7.2, 8.3, 8.9, 9.1, 9.2]
    with pytest.raises(LossSpikeError) as found:
        watch(curve)
    assert found.value.message == (
        "the loss jumped to 6.1, 7.2, 8.3, 8.9, 9.1 in steps 101 to 105, after a median of 0.536 in the 50 steps"
        " before; the last checkpoint is kept"
    )


def test_single_spikes_do_not_end_the_run() -> None:
    assert watch([*[0.5] * 60, 9.0, 0.5, 9.5, 9.9, 9.8, 9.9, 0.5, 9.0]) == 68


def test_the_first_losses_are_never_spikes() -> None:
    assert watch([1.0, 90.0, 95.0, 99.0, 120.0, 130.0, 140.0, 1.0]) == 8


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_values_end_the_run_at_once(value: float) -> None:
    with pytest.raises(NonFiniteLossError, match=r"the loss became -?(nan|inf) at step 1"):
        watch([value])
    with pytest.raises(NonFiniteLossError, match=r"the gradient norm became -?(nan|inf) at step 3"):
        LossWatch().check(3, 1.0, value)


@pytest.mark.parametrize(
    ("losses", "over"),
    [
        ([], False),
        ([3.0, 2.0], False),
        ([3.0, 3.1, 3.2], True),
        ([3.0, 3.1], False),
        ([3.0, 2.0, 2.5, 1.9], False),
        ([3.0, 2.0, 2.0, 2.0], True),
        ([3.0, 2.0, 2.5, 2.4, 1.0], False),
    ],
)
def test_patience_counts_evaluations_without_improvement(losses: list[float], over: bool) -> None:
    history = [{"eval_loss": loss, "step": i} for i, loss in enumerate(losses)]
    assert exhausted([{"loss": 1.0, "step": 0}, *history], 2) is over
