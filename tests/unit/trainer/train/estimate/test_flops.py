"""Operations of a training step."""

from __future__ import annotations

from loraform_trainer.train.estimate.flops import ModelFlops


def test_a_frozen_weight_costs_four_operations_and_an_adapter_weight_six() -> None:
    work = ModelFlops(base=100, adapter=10, head=50, attention=8)
    assert work.of_step(tokens=7, labels=3, squares=25) == 7 * 460 + 3 * 200 + 6 * 25 * 8
