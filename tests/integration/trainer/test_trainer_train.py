"""Stage train on a tiny random Llama: what it learns from, what it leaves, how it stops and goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from loraform_api.artifact import adapter_digest
from loraform_api.evaluation import LossPoint
from loraform_api.names import RunStage
from loraform_api.parity import ParityFile
from loraform_api.run import ExitCode, StageReport
from loraform_trainer import __main__, checkpoints, train
from loraform_trainer.context import Context
from loraform_trainer.data import IGNORED, PadRight, Rows, TokenRow
from loraform_trainer.files import sha256_file
from loraform_trainer.trainer import LoRATrainer, StopWhenAsked

Stage = Callable[..., int]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums in one order, and little of the machine."""
    torch.set_num_threads(1)


@pytest.fixture
def prepared(pod: Any, stage: Stage) -> Any:
    assert stage("prepare") == 0
    return pod


def weights(pod: Any) -> bytes:
    return bytes((pod.paths.adapter / "adapter_model.safetensors").read_bytes())


def train_until(pod: Any, step: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run train, with SIGTERM's event set during `step`."""
    stop = threading.Event()

    class SigtermDuringStep(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step - 1:
                stop.set()

    with monkeypatch.context() as patch:
        patch.setattr(train, "StopWhenAsked", lambda event: _Both(SigtermDuringStep(), StopWhenAsked(event)))
        return int(execute(pod, stop).exit_code)


def execute(pod: Any, stop: threading.Event) -> StageReport:
    """Run train as its process does, with a stop event of ours."""
    return __main__.execute(
        RunStage.TRAIN, pod.paths, lambda config, progress: Context(config, pod.paths, progress, stop)
    )


def log(pod: Any) -> list[LossPoint]:
    """The loss curve that the run left."""
    return [LossPoint.model_validate_json(line) for line in pod.paths.training_log.read_text().splitlines()]


class _Both(TrainerCallback):
    def __init__(self, first: TrainerCallback, second: TrainerCallback) -> None:
        self._first, self._second = first, second

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._first.on_step_begin(*args, **kwargs)

    def on_step_end(self, *args: Any, **kwargs: Any) -> Any:
        return self._second.on_step_end(*args, **kwargs)


def test_training_leaves_an_adapter_with_its_parity(prepared: Any, stage: Stage) -> None:
    assert stage("train") == 0
    done = prepared.report().train
    files = {name: sha256_file(prepared.paths.adapter / name) for name in
             ("adapter_config.json", "adapter_model.safetensors")}  # fmt: skip
    assert done.adapter_digest == adapter_digest(files)
    assert {p.name for p in prepared.paths.adapter.iterdir()} == {*files, "parity.json"}
    assert done.resumed_from_step == 0
    assert done.steps == 2 * -(-prepared.workspace_report(RunStage.PREPARE).prepare.rows["Train"] // 4)
    assert float(done.final_loss) < 5.6  # from 5.62
    assert float(done.validation_loss) > 0
    tensors = load_file(prepared.paths.adapter / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert not any("lm_head" in name or "embed" in name for name in tensors)
    parity = ParityFile.model_validate_json((prepared.paths.adapter / "parity.json").read_text())
    assert parity.template_hash == prepared.workspace_report(RunStage.PREPARE).prepare.template_hash
    assert all(row.adapter_logprobs != row.base_logprobs for row in parity.rows)
    found = done.forgetting
    assert found.prompts == 60
    assert float(found.low) < float(found.mean_difference) < float(found.high)
    points = log(prepared)
    assert [point.step for point in points[:-1]] == list(range(1, done.steps + 1))
    assert f"{points[-2].loss:.4f}" == done.final_loss
    assert f"{points[-1].eval_loss:.4f}" == done.validation_loss


def test_a_stopped_run_ends_as_an_uninterrupted_one(
    prepared: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped inside the first epoch, at its end's checkpoint and inside the second: bit for bit the same adapter."""
    assert stage("train") == 0
    whole, parity = weights(prepared), (prepared.paths.adapter / "parity.json").read_text()
    losses = [point.loss for point in log(prepared)]
    prepared.paths.report(RunStage.TRAIN).unlink()
    for folder in (prepared.paths.adapter, prepared.paths.checkpoints):
        folder.rename(folder.with_name(f"{folder.name}-whole"))

    resumed_at = 0
    for step in (3, 9, 15):
        assert train_until(prepared, step, monkeypatch) == ExitCode.SAVED_AND_STOPPED
        assert prepared.report().message == f"asked to stop; saved at step {step}"
        assert prepared.report().resumed_from_step == resumed_at
        resumed_at = step
    assert stage("train") == 0
    done = prepared.report().train
    assert done.resumed_from_step == 15
    assert weights(prepared) == whole
    assert (prepared.paths.adapter / "parity.json").read_text() == parity
    assert [point.loss for point in log(prepared)] == losses


def test_an_incomplete_or_changed_checkpoint_is_not_used(
    prepared: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train_until(prepared, 9, monkeypatch) == ExitCode.SAVED_AND_STOPPED
    newest = prepared.paths.checkpoints / "checkpoint-9"
    with (newest / "optimizer.pt").open("ab") as stream:
        stream.write(b"x")
    (prepared.paths.checkpoints / "checkpoint-12").mkdir()
    assert stage("train") == 0
    assert prepared.report().train.resumed_from_step == 8


def test_asked_to_stop_before_training_loses_nothing(prepared: Any) -> None:
    stop = threading.Event()
    stop.set()
    report = execute(prepared, stop)
    assert report.exit_code is ExitCode.SAVED_AND_STOPPED
    assert report.resumed_from_step == 0


def test_a_diverging_loss_stops_before_the_step(prepared: Any, stage: Stage) -> None:
    prepared.config["spec"]["training"]["learningRate"] = "1e30"
    assert stage("train") == ExitCode.NON_FINITE_LOSS
    assert "became nan at step" in prepared.report().message or "became inf at step" in prepared.report().message
    assert not prepared.paths.adapter.exists()


def test_a_changed_base_is_noticed(prepared: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    class Vandal(TrainerCallback):
        def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            frozen = next(p for p in model.parameters() if not p.requires_grad)
            frozen.data.view(-1)[0] += 1

    monkeypatch.setattr(train, "StopWhenAsked", lambda event: Vandal())
    assert stage("train") == ExitCode.TRAINER_ERROR
    assert "the frozen base changed" in prepared.report().message


def test_a_base_without_all_its_weights_is_refused(prepared: Any, stage: Stage) -> None:
    file = prepared.paths.base / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    assert stage("train") == ExitCode.BASE_MODEL_INVALID
    assert "lack weights, for example model.norm.weight" in prepared.report().message


def test_a_bfloat16_base_gets_a_float32_adapter(prepared: Any, stage: Stage) -> None:
    prepared.config["engineDtype"] = "bfloat16"
    prepared.config["spec"]["training"]["epochs"] = 1
    assert stage("train") == 0
    tensors = load_file(prepared.paths.adapter / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    model = train.build_model(prepared.run_config(), prepared.paths.base)
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_an_unknown_number_type_is_refused(prepared: Any, stage: Stage) -> None:
    prepared.config["engineDtype"] = "int4"
    assert stage("train") == ExitCode.INVALID_CONFIG
    assert "engineDtype: 'int4' is not one of float32, bfloat16" in prepared.report().message


def test_the_loss_sees_the_response_and_its_end_only() -> None:
    item = Rows([TokenRow("r", [5, 6, 7], [8, 9, 1])])[0]
    assert item == {"input_ids": [5, 6, 7, 8, 9, 1], "labels": [IGNORED] * 3 + [8, 9, 1]}
    batch = PadRight(0)([item, {"input_ids": [5], "labels": [1]}])
    assert batch["labels"].tolist()[1] == [1] + [IGNORED] * 5
    assert batch["attention_mask"].sum(1).tolist() == [6, 1]


def test_checkpoints_hold_no_base_and_no_pickled_arguments(prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train_until(prepared, 5, monkeypatch)
    newest = checkpoints.newest(prepared.paths.checkpoints)
    assert newest is not None
    assert {p.name for p in newest.iterdir()} - {"README.md"} == {
        "adapter_config.json", "adapter_model.safetensors", "manifest.json", "optimizer.pt", "rng_state.pth",
        "scheduler.pt", "trainer_state.json",
    }  # fmt: skip
    manifest = json.loads((newest / "manifest.json").read_text())
    assert "optimizer.pt" in manifest


def test_total_steps_are_counted_as_transformers_does(prepared: Any, tmp_path: Path) -> None:
    config = prepared.run_config()
    rows = [TokenRow(str(i), [2, 3], [4, 1]) for i in range(11)]
    arguments = train.training_arguments(config, tmp_path, len(rows))
    trainer = LoRATrainer(train.build_model(config, prepared.paths.base), arguments, rows, [], [])
    trainer.train()
    assert trainer.state.max_steps == train.total_steps(config.spec.training, len(rows)) == 6
