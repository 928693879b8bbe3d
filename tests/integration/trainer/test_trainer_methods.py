"""How the model is built: LoRA, rsLoRA, QLoRA on the CPU, and a start from the live adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loraform_api.run import RunConfig
from loraform_engine.parity import ParityFile
from loraform_trainer.runtime.errors import BaseModelInvalidError, InvalidConfigError
from loraform_trainer.train import model as models

SPEC = {
    "baseModel": {"storageUri": "pvc://models/tiny"},
    "dataset": {"sources": [{"name": "data", "configMap": {"name": "rows", "key": "rows.jsonl"}}]},
    "evaluation": {"suites": [{"name": "held-out", "configMap": {"name": "suite", "key": "suite.jsonl"}}]},
    "output": {"storageUri": "pvc://artifacts/team/adapters"},
}
IDS = torch.randint(2, 250, (2, 48), generator=torch.Generator().manual_seed(3))
QLORA = {"method": "QLoRA"}


def run_config(dtype: str = "float32", method: str = "LoRA", seed: int = 42, **lora: Any) -> RunConfig:
    spec = {**SPEC, "method": method, "training": {"seed": seed}, "lora": {"rank": 4, "alpha": 8, **lora}}
    images = {"trainer": "t", "verifier": "v", "engine": "e"}
    run = {"namespace": "default", "name": "job", "uid": "1", "spec": spec, "images": images, "engineDtype": dtype}
    return RunConfig.model_validate(run)


def adapter(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def train(model: Any, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.fixture
def live(base_model: Path, tmp_path: Path) -> Path:
    """A trained adapter of rank 4 as a run leaves it."""
    model = models.build(run_config(), base_model)
    train(model, 3)
    model.save_pretrained(tmp_path / "live")
    return tmp_path / "live"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["LoRA", "QLoRA"])
def test_the_loss_falls_and_only_the_adapter_changes(base_model: Path, method: str, dtype: str) -> None:
    model = models.build(run_config(dtype, method), base_model)
    before, frozen = adapter(model), models.checksum(model)
    losses = train(model, 12)
    assert losses[-1] < losses[0] - 0.3
    assert losses == sorted(losses, reverse=True)
    assert models.checksum(model) == frozen
    after = adapter(model)
    assert all(not torch.equal(after[name], before[name]) for name in before)
    assert {p.dtype for p in after.values()} == {torch.float32}


def test_the_base_keeps_the_engines_number_type(base_model: Path) -> None:
    plain = models.build(run_config("bfloat16"), base_model)
    assert {p.dtype for p in plain.parameters() if not p.requires_grad} == {torch.bfloat16}
    quantised = models.build(run_config("bfloat16", **QLORA), base_model)
    assert {p.dtype for p in quantised.parameters() if not p.requires_grad} == {torch.bfloat16, torch.uint8}


def test_nf4_computes_the_same_after_an_evaluation(base_model: Path) -> None:
    """On some CPUs bitsandbytes rewrites the weights for speed at the first forward pass without gradients."""
    model = models.build(run_config(**QLORA), base_model)
    with torch.no_grad():
        first = model(input_ids=IDS).logits
    frozen = models.checksum(model)
    model.eval()
    with torch.no_grad():
        second = model(input_ids=IDS).logits
    assert torch.equal(first, second)
    assert models.checksum(model) == frozen
    model.train()
    assert train(model, 4)[-1] < train(models.build(run_config(**QLORA), base_model), 1)[0]


def test_nf4_is_near_the_base_but_not_the_base(base_model: Path) -> None:
    with torch.no_grad():
        exact = models.build(run_config(), base_model)(input_ids=IDS).logits
        quantised = models.build(run_config(**QLORA), base_model)(input_ids=IDS).logits
    difference = (exact - quantised).norm() / exact.norm()
    assert 0.01 < difference < 0.3


@pytest.mark.parametrize("where", ["a weight", "a scale"])
def test_the_checksum_sees_one_changed_bit_of_a_4_bit_base(base_model: Path, where: str) -> None:
    model = models.build(run_config(**QLORA), base_model)
    frozen = models.checksum(model)
    packed = next(p for p in model.parameters() if p.dtype is torch.uint8)
    tensor = packed.data if where == "a weight" else packed.quant_state.absmax
    tensor.view(-1)[5] ^= 1
    assert models.checksum(model) != frozen


def test_the_checksum_sees_a_changed_scale_of_scales(base_model: Path) -> None:
    model = models.build(run_config(**QLORA), base_model)
    frozen = models.checksum(model)
    packed = next(p for p in model.parameters() if p.dtype is torch.uint8)
    packed.quant_state.state2.absmax[0] *= 1.5
    assert models.checksum(model) != frozen


def test_the_seed_alone_decides_where_a_fresh_adapter_begins(base_model: Path) -> None:
    first = adapter(models.build(run_config(), base_model))
    torch.rand(7)  # whatever was drawn before
    second = adapter(models.build(run_config(), base_model))
    assert all(torch.equal(first[name], second[name]) for name in first)
    third = adapter(models.build(run_config(seed=43), base_model))
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_rank_stabilised_scaling_divides_by_the_root(base_model: Path) -> None:
    def factor(**lora: Any) -> float:
        model = models.build(run_config(**lora), base_model)
        return float(model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"])

    assert factor() == 8 / 4
    assert factor(scaling="RankStabilized") == 8 / 2


def test_rank_stabilised_scaling_is_saved_with_the_adapter(base_model: Path, tmp_path: Path) -> None:
    models.build(run_config(scaling="RankStabilized"), base_model).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["use_rslora"] is True


@pytest.mark.parametrize("method", ["LoRA", "QLoRA"])
def test_a_warm_start_begins_with_the_live_weights(base_model: Path, live: Path, method: str) -> None:
    warm = adapter(models.build(run_config(method=method, start="Live"), base_model, live))
    saved = load_file(live / "adapter_model.safetensors")
    assert {name.replace(".default.", ".") for name in warm} == set(saved)
    assert all(torch.equal(tensor, saved[name.replace(".default.", ".")]) for name, tensor in warm.items())
    assert all(tensor.abs().sum() > 0 for tensor in warm.values())  # a fresh B is zero


def test_without_a_live_version_or_the_wish_the_start_is_fresh(base_model: Path, live: Path) -> None:
    for model in (
        models.build(run_config(start="Live"), base_model, None),
        models.build(run_config(), base_model, live),
    ):
        assert all(p.abs().sum() == 0 for name, p in adapter(model).items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 8}, "spec.lora.rank: this run has 8, the live version has 4"),
        ({"alpha": 16}, "spec.lora.alpha: this run has 16, the live version has 8"),
        (
            {"scaling": "RankStabilized"},
            "spec.lora.scaling: this run has RankStabilized, the live version has Standard",
        ),
        ({"targetModules": ["q_proj"]}, "spec.lora.targetModules: this run has ['q_proj'], the live version has ["),
    ],
)
def test_a_live_adapter_of_another_shape_is_refused(
    base_model: Path, live: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidConfigError) as raised:
        models.build(run_config(start="Live", **changes), base_model, live)
    assert said in str(raised.value)
    assert "`spec.lora.start: Fresh`" in str(raised.value)


@pytest.mark.parametrize("damage", ["shape", "missing", "strange"])
def test_a_live_adapter_of_another_base_is_refused(base_model: Path, live: Path, damage: str) -> None:
    file = live / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(n for n in tensors if "lora_A" in n)
    if damage == "shape":
        tensors[name] = tensors[name][:, :32].contiguous()
    else:
        moved = tensors.pop(name)
        if damage == "strange":
            tensors[name.replace("layers.0", "layers.9")] = moved
    save_file(tensors, file)
    with pytest.raises(InvalidConfigError, match=r"was trained on another base than `spec\.baseModel`"):
        models.build(run_config(start="Live"), base_model, live)


def test_a_qlora_run_trains_from_the_live_adapter_to_a_file_with_its_parity(
    pod: Any, stage: Callable[..., int], base_model: Path
) -> None:
    pod.config["spec"]["method"] = "QLoRA"
    pod.config["spec"]["lora"]["start"] = "Live"
    pod.config["spec"]["training"].update(epochs=1, learningRate="1e-9")  # what it began with stays to be seen
    begins = models.build(pod.run_config(), base_model, None)
    train(begins, 2)
    assert stage("prepare") == 0
    begins.save_pretrained(pod.paths.live)
    pod.config["live"] = {"version": 1, "digest": "a" * 64, "path": "v1"}
    assert stage("train") == 0
    assert float(pod.report().train.final_loss) > 0
    parity = ParityFile.model_validate_json((pod.paths.adapter / "parity.json").read_text())
    assert all(row.adapter_logprobs != row.base_logprobs for row in parity.rows)
    ended, began = (load_file(f / "adapter_model.safetensors") for f in (pod.paths.adapter, pod.paths.live))
    assert ended.keys() == began.keys()
    assert any(not torch.equal(ended[name], began[name]) for name in began)
    assert all(torch.allclose(ended[name], began[name], atol=1e-6) for name in began)
    assert all(tensor.abs().sum() > 0 for tensor in ended.values())


def test_a_base_without_all_its_weights_is_refused(base_model: Path, tmp_path: Path) -> None:
    for file in base_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelInvalidError, match=r"lack weights, for example model\.norm\.weight"):
        models.build(run_config(), tmp_path)
