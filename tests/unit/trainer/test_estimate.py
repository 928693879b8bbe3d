"""Memory, work and hours of a run, from sizes alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from loraform_api.failures import ExitCode
from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.run import RunConfig
from loraform_api.training import LoRASpec
from loraform_trainer.runtime.errors import BaseModelInvalidError, InvalidConfigError, OutOfGPUMemoryError
from loraform_trainer.train.estimate import estimate, gpus, shape
from loraform_trainer.train.estimate.estimate import Rows, advice, decide_recompute, hours, judge, memory, operations
from loraform_trainer.train.estimate.gpus import GIB
from loraform_trainer.train.estimate.shape import Shape
from loraform_trainer.train.method import check_method

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
QWEN_CODER_7B = {
    "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_8B = {
    "model_type": "qwen3", "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936,
    "tie_word_embeddings": False,
}  # fmt: skip
QWEN_CODER_15B = {
    "model_type": "qwen2", "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12,
    "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
SPEC: dict[str, Any] = {
    "baseModel": {"storageUri": "pvc://models/tiny"},
    "dataset": {"sources": [{"name": "data", "configMap": {"name": "rows", "key": "rows.jsonl"}}]},
    "evaluation": {"suites": [{"name": "held-out", "configMap": {"name": "suite", "key": "suite.jsonl"}}]},
    "output": {"storageUri": "pvc://artifacts/team/adapters"},
}


def spec(**changes: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate({**SPEC, **changes})


def run_config(nf4: bool = False, **changes: Any) -> RunConfig:
    images = {"trainer": "t", "verifier": "v", "engine": "e"}
    run = {"namespace": "d", "name": "job", "uid": "1", "spec": {**SPEC, **changes}, "images": images}
    return RunConfig.model_validate({**run, "engineDtype": "bfloat16", "maxLoraRank": 64, "engineNf4": nf4})


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """The folder of a base of which only config.json is there."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    return tmp_path


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (LLAMA_8B, 8_030_261_248),
        (QWEN_CODER_7B, 7_615_616_512),
        (QWEN3_8B, 8_190_735_360),
        (QWEN_CODER_15B, 1_543_714_304),
    ],
)
def test_weights_are_those_that_were_published(config: dict[str, Any], published: int) -> None:
    assert shape.of_config(config).parameters == published


def test_an_adapter_of_rank_16_on_8b_has_42_million_weights() -> None:
    assert shape.of_config(LLAMA_8B).trained_weights(LoRASpec(rank=16)) == 41_943_040
    assert shape.of_config(LLAMA_8B).trained_weights(
        LoRASpec(rank=16, target_modules=["q_proj", "v_proj"])
    ) == 32 * 16 * (8192 + 5120)


# performance.md §1.1: GFLOP a token of the 8B shape, by length: LoRA, and LoRA with recomputed activations
TABLE = {1024: (30.8, 46.1), 2048: (31.6, 47.2), 4096: (33.2, 49.3)}


@pytest.mark.parametrize("length", TABLE)
@pytest.mark.parametrize("recompute", [False, True])
def test_work_is_that_of_the_table(length: int, recompute: bool) -> None:
    one = spec(training={"epochs": 1}, lora={"rank": 16})
    work = operations(shape.of_config(LLAMA_8B), one, Rows.alike(10, length), recompute=recompute)
    assert work / (10 * length) / 1e9 == pytest.approx(TABLE[length][recompute], rel=0.02)


def test_work_counts_epochs_and_the_head_at_labels_only() -> None:
    base = shape.of_config(LLAMA_8B)
    rows = Rows(tokens=1000, labels=400, squares=1000 * 500)
    once = operations(base, spec(training={"epochs": 1}), rows, recompute=False)
    assert operations(base, spec(training={"epochs": 3}), rows, recompute=False) == 3 * once
    all_learnt = Rows(tokens=1000, labels=1000, squares=1000 * 500)
    more = operations(base, spec(training={"epochs": 1}), all_learnt, recompute=False)
    assert more - once == 4 * 600 * 128256 * 4096


def test_hours_are_a_range_that_gpus_share() -> None:
    h100 = gpus.find("h100")
    assert h100 is not None
    assert hours(989e12 * 3600, h100, 1) == pytest.approx((1 / 0.55, 1 / 0.40))
    assert hours(989e12 * 3600, h100, 4) == pytest.approx((0.25 / 0.55, 0.25 / 0.40))


def test_parts_of_the_memory() -> None:
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


def test_activations_grow_with_the_longest_pack_and_nothing_else_of_the_base_does() -> None:
    base = shape.of_config(LLAMA_8B)
    short, long = (
        memory(base, spec(training={"maxSequenceLength": n}), "bfloat16", recompute=False) for n in (2048, 4096)
    )
    assert long.activations == 2 * short.activations
    assert long.base == short.base


def test_four_bits_hold_a_7b_base_in_five_gib() -> None:
    plain = memory(shape.of_config(QWEN_CODER_7B), spec(), "bfloat16", recompute=True)
    quantised = memory(shape.of_config(QWEN_CODER_7B), spec(method="QLoRA"), "bfloat16", recompute=True)
    assert plain.base / GIB == pytest.approx(14.2, abs=0.1)
    assert quantised.base / GIB == pytest.approx(5.2, abs=0.1)
    assert quantised.working > plain.working  # a layer's weights, unpacked


def test_processes_that_share_keep_the_sum_of_gradients_too() -> None:
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
def test_recompute_is_chosen_only_where_it_is_needed(gpu: str, wish: str, recompute: bool, fits: bool) -> None:
    available = gpus.find(gpu)
    assert available is not None
    verdict = judge(shape.of_config(LLAMA_8B), spec(training={"recompute": wish}), "bfloat16", available.memory)
    assert (verdict.recompute, verdict.fits) == (recompute, fits)


def test_the_trainer_is_told_what_the_estimate_says(llama: Path) -> None:
    assert decide_recompute(run_config(), llama, 79 * GIB) is False
    assert decide_recompute(run_config(), llama, 24 * GIB) is True
    assert decide_recompute(run_config(training={"recompute": "Never"}), llama, 40 * GIB) is False
    assert decide_recompute(run_config(training={"recompute": "Always"}), llama, 79 * GIB) is True


@pytest.mark.parametrize(("wish", "recompute"), [("Auto", False), ("Always", True), ("Never", False)])
def test_without_a_gpu_only_the_wish_counts(wish: str, recompute: bool, tmp_path: Path) -> None:
    assert decide_recompute(run_config(training={"recompute": wish}), tmp_path / "absent", None) is recompute


@pytest.mark.parametrize(("wish", "recompute"), [("Auto", True), ("Always", True), ("Never", False)])
def test_an_unknown_family_is_recomputed_unless_refused(wish: str, recompute: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA_8B, "model_type": "mixtral"}))
    assert decide_recompute(run_config(training={"recompute": wish}), tmp_path, 8 * GIB) is recompute


def test_a_run_far_from_fitting_is_refused_with_what_to_change(llama: Path) -> None:
    with pytest.raises(OutOfGPUMemoryError) as raised:
        decide_recompute(run_config(), llama, 8 * GIB)
    assert raised.value.code is ExitCode.OUT_OF_GPU_MEMORY
    assert "GiB on each GPU, which has 8 GiB; set `spec.method` to 'QLoRA'" in raised.value.message


def test_a_run_that_might_fit_is_never_refused(llama: Path) -> None:
    need = judge(shape.of_config(LLAMA_8B), run_config().spec, "bfloat16", 1).need.total
    assert decide_recompute(run_config(), llama, int(need / estimate.HOPELESS) + 1) is True


def test_advice_is_what_would_fit() -> None:
    base, job = shape.of_config(LLAMA_8B), spec(training={"maxSequenceLength": 32768})
    verdict = judge(base, job, "bfloat16", 28 * GIB)
    assert not verdict.fits
    (first, *rest) = advice(job, verdict)
    shorter = int(first.split(" to ")[1].split(",")[0])
    again = judge(base, spec(training={"maxSequenceLength": shorter}), "bfloat16", 28 * GIB)
    assert again.fits
    more = judge(base, spec(training={"maxSequenceLength": shorter * 2}), "bfloat16", 28 * GIB)
    assert not more.fits
    assert rest == ["set `spec.method` to 'QLoRA' where the profile's engine has nf4", "choose a GPU with more memory"]


def test_advice_undoes_a_refused_recompute() -> None:
    job = spec(training={"recompute": "Never"})
    verdict = judge(shape.of_config(LLAMA_8B), job, "bfloat16", 24 * GIB)
    assert advice(job, verdict)[0] == "set `spec.training.recompute` to 'Auto' or 'Always'"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A10G", "A10"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("Tesla T4", None),
    ],
)
def test_gpus_are_found_by_the_drivers_name_and_by_a_persons(said: str, found: str | None) -> None:
    gpu = gpus.find(said)
    assert (gpu and gpu.name) == found


def header(folder: Path, name: str, tensors: dict[str, list[int]]) -> None:
    text = json.dumps({n: {"dtype": "BF16", "shape": s, "data_offsets": [0, 0]} for n, s in tensors.items()}).encode()
    (folder / name).write_bytes(struct.pack("<Q", len(text)) + text)


def test_weights_are_counted_from_headers_over_all_files_and_shared_ones_once(llama: Path) -> None:
    (llama / "config.json").write_text(json.dumps({**LLAMA_8B, "tie_word_embeddings": True}))
    header(llama, "model-1.safetensors", {"model.embed_tokens.weight": [10, 4], "lm_head.weight": [10, 4]})
    header(llama, "model-2.safetensors", {"model.norm.weight": [4]})
    assert shape.read(llama).parameters == 44
    assert shape.read(llama / "config.json").counted is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 4) + b"nope", struct.pack("<Q", 2) + b"[]"])
def test_what_is_no_safetensors_file_is_named(llama: Path, content: bytes) -> None:
    (llama / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelInvalidError, match=r"model\.safetensors of the base model is not a safetensors file"):
        shape.read(llama)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_config_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BaseModelInvalidError):
        shape.read(tmp_path)


def test_a_missing_size_is_named() -> None:
    with pytest.raises(BaseModelInvalidError, match="intermediate_size"):
        shape.of_config({name: value for name, value in LLAMA_8B.items() if name != "intermediate_size"})


def test_heads_share_the_width_where_the_config_gives_none() -> None:
    assert isinstance(shape.of_config(LLAMA_8B), Shape)
    assert shape.of_config(LLAMA_8B).head_dim == 128
    assert shape.of_config({**LLAMA_8B, "head_dim": 64}).head_dim == 64


def test_qlora_needs_an_engine_with_four_bits() -> None:
    check_method(run_config(method="QLoRA", nf4=True))
    check_method(run_config())
    with pytest.raises(InvalidConfigError, match=r"spec\.method: 'QLoRA' needs an engine.*profile 'default' has none"):
        check_method(run_config(method="QLoRA"))
