"""Estimates of memory, operations and hours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loraform_api.failures import ExitCode
from loraform_trainer.runtime.errors import OutOfGPUMemoryError
from loraform_trainer.train.estimate import estimate, gpus, shape
from loraform_trainer.train.estimate.estimate import (
    RowCounts,
    advice,
    assess,
    decide_recompute,
    hours,
    memory,
    operations,
)
from loraform_trainer.train.estimate.gpus import GIB

from .base_models import LLAMA_8B, QWEN_CODER_7B, run_config, spec

TABLE = {1024: (30.8, 46.1), 2048: (31.6, 47.2), 4096: (33.2, 49.3)}
"""GFLOP per token of an 8B model by row length: LoRA, and LoRA with recomputed activations."""


@pytest.mark.parametrize("length", TABLE)
@pytest.mark.parametrize("recompute", [False, True])
def test_operations_per_token_match_the_table(length: int, recompute: bool) -> None:
    one = spec(training={"epochs": 1}, lora={"rank": 16})
    work = operations(shape.of_config(LLAMA_8B), one, RowCounts.of_equal_rows(10, length), recompute=recompute)
    assert work / (10 * length) / 1e9 == pytest.approx(TABLE[length][recompute], rel=0.02)


def test_operations_count_epochs_and_the_head_at_labels_only() -> None:
    base = shape.of_config(LLAMA_8B)
    rows = RowCounts(tokens=1000, labels=400, squares=1000 * 500)
    once = operations(base, spec(training={"epochs": 1}), rows, recompute=False)
    assert operations(base, spec(training={"epochs": 3}), rows, recompute=False) == 3 * once
    all_learnt = RowCounts(tokens=1000, labels=1000, squares=1000 * 500)
    more = operations(base, spec(training={"epochs": 1}), all_learnt, recompute=False)
    assert more - once == 4 * 600 * 128256 * 4096


def test_hours_are_a_range_divided_by_the_gpus() -> None:
    h100 = gpus.find_gpu("h100")
    assert h100 is not None
    assert hours(989e12 * 3600, h100, 1) == pytest.approx((1 / 0.55, 1 / 0.40))
    assert hours(989e12 * 3600, h100, 4) == pytest.approx((0.25 / 0.55, 0.25 / 0.40))


def test_memory_by_part() -> None:
    base, job = shape.of_config(LLAMA_8B), spec(lora={"rank": 16})
    need = memory(base, job, "bfloat16", recompute=False)
    assert need.base == 2 * 8_030_261_248
    assert need.gradients == 4 * 41_943_040
    assert need.moments == 8 * 41_943_040
    assert need.adapter == 4 * 41_943_040
    assert need.total == sum((need.base, need.gradients, need.moments, need.adapter, need.activations, need.logits,
                              need.working, need.overhead))  # fmt: skip
    lean = memory(base, job, "bfloat16", recompute=True)
    assert lean.activations < need.activations / 10
    assert (lean.base, lean.logits) == (need.base, need.logits)


def test_only_activations_grow_with_the_longest_pack() -> None:
    base = shape.of_config(LLAMA_8B)
    short, long = (
        memory(base, spec(training={"maxSequenceLength": n}), "bfloat16", recompute=False) for n in (2048, 4096)
    )
    assert long.activations == 2 * short.activations
    assert long.base == short.base


def test_a_7b_base_in_four_bits_takes_less_than_five_gib() -> None:
    plain = memory(shape.of_config(QWEN_CODER_7B), spec(), "bfloat16", recompute=True)
    quantised = memory(shape.of_config(QWEN_CODER_7B), spec(method="QLoRA"), "bfloat16", recompute=True)
    assert plain.base / GIB == pytest.approx(14.2, abs=0.1)
    assert quantised.base / GIB == pytest.approx(5.2, abs=0.1)
    assert quantised.working > plain.working  # a layer's weights, unpacked


def test_several_processes_need_twice_the_gradients() -> None:
    base = shape.of_config(LLAMA_8B)
    two = memory(base, spec(placement={"gpus": 2}), "bfloat16", recompute=True)
    assert two.gradients == 2 * memory(base, spec(), "bfloat16", recompute=True).gradients


@pytest.mark.parametrize(
    ("gpu", "wish", "recompute", "fits"),
    [
        ("H100", "Auto", False, True),
        ("RTX 4090", "Auto", True, True),
        ("RTX 4090", "Never", False, False),
        ("H100", "Always", True, True),
    ],
)
def test_auto_recomputes_only_if_needed(gpu: str, wish: str, recompute: bool, fits: bool) -> None:
    available = gpus.find_gpu(gpu)
    assert available is not None
    verdict = assess(shape.of_config(LLAMA_8B), spec(training={"recompute": wish}), "bfloat16", available.memory)
    assert (verdict.recompute, verdict.fits) == (recompute, fits)


def test_decide_recompute_follows_the_estimate(llama: Path) -> None:
    assert decide_recompute(run_config(), llama, 79 * GIB) is False
    assert decide_recompute(run_config(), llama, 24 * GIB) is True
    assert decide_recompute(run_config(training={"recompute": "Never"}), llama, 40 * GIB) is False
    assert decide_recompute(run_config(training={"recompute": "Always"}), llama, 79 * GIB) is True


@pytest.mark.parametrize(("wish", "recompute"), [("Auto", False), ("Always", True), ("Never", False)])
def test_without_a_gpu_only_always_recomputes(wish: str, recompute: bool, tmp_path: Path) -> None:
    assert decide_recompute(run_config(training={"recompute": wish}), tmp_path / "absent", None) is recompute


@pytest.mark.parametrize(("wish", "recompute"), [("Auto", True), ("Always", True), ("Never", False)])
def test_an_unknown_family_is_recomputed_unless_refused(wish: str, recompute: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA_8B, "model_type": "mixtral"}))
    assert decide_recompute(run_config(training={"recompute": wish}), tmp_path, 8 * GIB) is recompute


def test_a_run_far_from_fitting_is_refused_with_advice(llama: Path) -> None:
    with pytest.raises(OutOfGPUMemoryError) as raised:
        decide_recompute(run_config(), llama, 8 * GIB)
    assert raised.value.code is ExitCode.OUT_OF_GPU_MEMORY
    assert "GiB on each GPU, which has 8 GiB; set `spec.method` to 'QLoRA'" in raised.value.message


def test_a_run_that_might_fit_is_never_refused(llama: Path) -> None:
    need = assess(shape.of_config(LLAMA_8B), run_config().spec, "bfloat16", 1).need.total
    assert decide_recompute(run_config(), llama, int(need / estimate.REFUSAL_FACTOR) + 1) is True


def test_the_advised_length_fits() -> None:
    base, job = shape.of_config(LLAMA_8B), spec(training={"maxSequenceLength": 32768})
    verdict = assess(base, job, "bfloat16", 28 * GIB)
    assert not verdict.fits
    (first, *rest) = advice(job, verdict)
    shorter = int(first.split(" to ")[1].split(",")[0])
    again = assess(base, spec(training={"maxSequenceLength": shorter}), "bfloat16", 28 * GIB)
    assert again.fits
    more = assess(base, spec(training={"maxSequenceLength": shorter * 2}), "bfloat16", 28 * GIB)
    assert not more.fits
    assert rest == [
        "set `spec.method` to 'QLoRA' if the profile's engine supports nf4",
        "choose a GPU with more memory",
    ]


def test_advice_enables_recompute() -> None:
    job = spec(training={"recompute": "Never"})
    verdict = assess(shape.of_config(LLAMA_8B), job, "bfloat16", 24 * GIB)
    assert advice(job, verdict)[0] == "set `spec.training.recompute` to 'Auto' or 'Always'"
