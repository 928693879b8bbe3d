"""Stage train on a tiny random Llama: what it leaves, how it stops, and how it goes on."""

from __future__ import annotations

import json
import shutil
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
from loraform_api.failures import ExitCode
from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_engine.parity import ParityFile
from loraform_trainer import __main__
from loraform_trainer.prepare.dataset import token_files
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.files import sha256_file
from loraform_trainer.train import adapter_files, checkpoints, parity, token_rows
from loraform_trainer.train import stage as train_stage
from loraform_trainer.train.callbacks import StopOnRequest
from loraform_trainer.train.model import build
from loraform_trainer.train.steps import spread
from loraform_trainer.train.trainer import LoRATrainer

from .conftest import Pod, new_pod, row

Stage = Callable[..., int]

ROWS = 36
STEPS_AN_EPOCH = 9


def fill(pod: Pod) -> Pod:
    """Leave what prepare would: 36 rows of almost one length, four of them a step."""
    shutil.copytree(pod.paths.base_mount / "tiny", pod.paths.base)
    vocabulary = tokens.load(pod.paths.base)
    pod.config["spec"]["training"]["batchSize"] = 4

    def write(path: Path, names: list[str]) -> None:
        rows = [row(name) for name in names]
        prompts = [vocabulary.tokens(row["instruction"], row["input"]) for row in rows]
        responses = [vocabulary.response(row["response"]) for row in rows]
        token_files.write(path, [token_files.record_batch(names, prompts, responses)])

    write(pod.paths.train_rows, [f"bucket-{i}" for i in range(10, 10 + ROWS)])
    write(pod.paths.validation_rows, [f"bucket-{i}" for i in range(50, 54)])
    return pod


@pytest.fixture
def prepared(pod: Pod) -> Any:
    """The test's run up to prepare."""
    return fill(pod)


@pytest.fixture(scope="module")
def whole(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that nothing disturbed; whoever changes anything of it copies it."""
    made = fill(new_pod(tmp_path_factory.mktemp("whole"), base_model))
    assert made.run("train") == 0
    return made


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
        patch.setattr(train_stage, "StopOnRequest", lambda *given: _Both(SigtermDuringStep(), StopOnRequest(*given)))
        return int(execute(pod, stop).exit_code)


def execute(pod: Any, stop: threading.Event) -> StageReport:
    """Run train as its process does, with a stop event of ours."""
    pod.write_config()
    return __main__.execute(
        RunStage.TRAIN, pod.paths, lambda config, progress: Context(config, pod.paths, progress, stop)
    )


def log(pod: Any) -> list[LossPoint]:
    """The history that the run left."""
    return [LossPoint.model_validate_json(line) for line in pod.paths.training_log.read_text().splitlines()]


def curve(pod: Any) -> list[tuple[object, ...]]:
    """The history but for what a clock says."""
    return [tuple(point.model_dump(exclude={"tokens_per_second"}).values()) for point in log(pod)]


class _Both(TrainerCallback):
    def __init__(self, first: TrainerCallback, second: TrainerCallback) -> None:
        self._first, self._second = first, second

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._first.on_step_begin(*args, **kwargs)

    def on_step_end(self, *args: Any, **kwargs: Any) -> Any:
        return self._second.on_step_end(*args, **kwargs)


def test_training_leaves_an_adapter_with_its_parity(whole: Any) -> None:
    done = whole.report().train
    files = {name: sha256_file(whole.paths.adapter / name) for name in
             ("adapter_config.json", "adapter_model.safetensors")}  # fmt: skip
    assert done.adapter_digest == adapter_digest(files)
    assert {p.name for p in whole.paths.adapter.iterdir()} == {*files, "parity.json"}
    assert not whole.paths.candidates.exists()
    assert done.resumed_from_step == 0
    assert done.steps == 2 * STEPS_AN_EPOCH
    assert float(done.final_loss) < 5.6  # from 5.62
    assert float(done.validation_loss) > 0
    assert not done.stopped_early
    tensors = load_file(whole.paths.adapter / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert not any("lm_head" in name or "embed" in name for name in tensors)
    parity = ParityFile.model_validate_json((whole.paths.adapter / "parity.json").read_text())
    assert parity.template_hash == tokens.load(whole.paths.base).template_hash
    assert all(row.adapter_logprobs != row.base_logprobs for row in parity.rows)
    found = done.forgetting
    assert found.prompts == 60
    assert float(found.low) < float(found.mean_difference) < float(found.high)


def test_the_history_has_every_step_and_each_checkpoints_validation(whole: Any) -> None:
    done, points = whole.report().train, log(whole)
    steps = [point for point in points if point.loss is not None]
    assert [point.step for point in steps] == list(range(1, done.steps + 1))
    assert all(point.grad_norm and point.learning_rate is not None and point.tokens_per_second for point in steps)
    rows = token_rows.read(whole.paths.train_rows)
    assert steps[-1].tokens == 2 * rows.lengths.sum()
    assert done.trained_tokens == 2 * rows.response_lengths.sum()
    assert float(done.tokens_per_second) > 0
    assert f"{steps[-1].loss:.4f}" == done.final_loss
    validated = [point for point in points if point.eval_loss is not None]
    assert [point.step for point in validated] == [4, 8, 12, 16, 18]
    assert f"{validated[-1].eval_loss:.4f}" == done.validation_loss
    assert (done.packs, done.fill) == (2 * STEPS_AN_EPOCH // 2, "1.0000")


def test_a_stopped_run_ends_as_an_uninterrupted_one(
    prepared: Any, whole: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped inside the first epoch, at its end's checkpoint and inside the second: bit for bit the same adapter."""
    resumed_at = 0
    for step in (3, 9, 15):
        assert train_until(prepared, step, monkeypatch) == ExitCode.SAVED_AND_STOPPED
        assert prepared.report().message == f"stopped on request; saved at step {step}"
        assert prepared.report().resumed_from_step == resumed_at
        resumed_at = step
    assert stage("train") == 0
    done = prepared.report().train
    assert done.resumed_from_step == 15
    assert weights(prepared) == weights(whole)
    parities = [run.paths.adapter / "parity.json" for run in (prepared, whole)]
    assert parities[0].read_text() == parities[1].read_text()
    assert curve(prepared) == curve(whole)
    assert done.trained_tokens == 2 * token_rows.read(prepared.paths.train_rows).response_lengths.sum()


def test_a_pod_lost_after_the_last_step_is_continued_by_its_report_alone(whole: Any, tmp_path: Path) -> None:
    lost = whole.copied_to(tmp_path)
    lost.paths.report(RunStage.TRAIN).unlink()
    shutil.rmtree(lost.paths.adapter)
    assert lost.run("train") == 0
    assert lost.report().train.resumed_from_step == lost.report().train.steps
    assert (weights(lost), curve(lost)) == (weights(whole), curve(whole))


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

    monkeypatch.setattr(train_stage, "StopOnRequest", lambda *given: Vandal())
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
    model = build(prepared.run_config(), prepared.paths.base)
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_an_unknown_number_type_is_refused(prepared: Any, stage: Stage) -> None:
    prepared.config["engineDtype"] = "int4"
    assert stage("train") == ExitCode.INVALID_CONFIG
    assert "is invalid at engineDtype: Input should be 'float32' or 'bfloat16'" in prepared.report().message


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


def test_steps_take_as_many_rows_as_asked_for_on_average(prepared: Any, stage: Stage) -> None:
    prepared.config["spec"]["training"] |= {"epochs": 1, "batchSize": 12}
    assert stage("train") == 0
    assert prepared.report().train.steps == ROWS // 12


def test_the_last_checkpoints_are_left_as_candidates(prepared: Any, stage: Stage) -> None:
    prepared.config["spec"]["checkpoint"]["candidates"] = 3
    assert stage("train") == 0
    candidates = prepared.paths.candidates
    assert sorted(p.name for p in candidates.iterdir()) == ["step-12", "step-16", "step-18"]
    for name in ("adapter_config.json", "adapter_model.safetensors", "parity.json"):
        newest = (candidates / "step-18" / name).read_bytes()
        assert newest == (prepared.paths.adapter / name).read_bytes()
    assert (candidates / "step-16" / "parity.json").read_bytes() != newest
    earliest = (candidates / "step-12" / "adapter_model.safetensors").read_bytes()
    assert earliest == (prepared.paths.checkpoints / "checkpoint-12" / "adapter_model.safetensors").read_bytes()


def test_training_ends_when_the_validation_loss_no_longer_falls(
    prepared: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best checkpoint is taken, also by a pod that follows one lost before its report."""
    falling = iter([5.0, 4.0, 4.5, 4.0, 4.2])
    whole = LoRATrainer.validation_loss

    def scripted(self: LoRATrainer, packs: Any) -> float:
        return next(falling) if self.is_in_train else whole(self, packs)

    monkeypatch.setattr(LoRATrainer, "validation_loss", scripted)
    prepared.config["spec"]["training"] |= {"epochs": 20, "earlyStopping": {"patience": 2}}
    assert stage("train") == 0
    report = prepared.report()
    assert (report.train.steps, report.train.stopped_early) == (16, True)
    assert "16 steps" in report.message
    assert "stopped early, step 8 chosen" in report.message
    taken = (prepared.paths.checkpoints / "checkpoint-8" / "adapter_model.safetensors").read_bytes()
    assert weights(prepared) == taken

    prepared.paths.report(RunStage.TRAIN).unlink()
    shutil.rmtree(prepared.paths.adapter)
    assert stage("train") == 0
    assert prepared.report().train.steps == 16
    assert weights(prepared) == taken


def test_rows_are_validated_in_part_while_training_and_all_at_the_end(prepared: Any, stage: Stage) -> None:
    shutil.copy(prepared.paths.train_rows, prepared.paths.validation_rows)
    assert stage("train") == 0
    validated = [point.eval_loss for point in log(prepared) if point.eval_loss is not None]
    trained = build(prepared.run_config(), prepared.paths.base)
    adapter_files.load(trained, prepared.paths.adapter)
    rows = token_rows.read(prepared.paths.validation_rows)
    some, whole = (mean_loss(trained, rows, numbers) for numbers in (spread(ROWS, 32), range(ROWS)))
    assert validated[-1] == pytest.approx(some, abs=1e-5)
    assert float(prepared.report().train.validation_loss) == pytest.approx(whole, abs=5.1e-5)  # four decimals
    assert abs(some - whole) > 7e-5


def mean_loss(model: Any, rows: token_rows.TokenRows, numbers: Any) -> float:
    """Mean over response tokens by transformers alone, one row at a time."""
    logprobs = [parity.logprobs(model.eval(), rows[int(i)]) for i in numbers]
    return -sum(map(sum, logprobs)) / sum(map(len, logprobs))


def test_recomputing_activations_trains_the_same_adapter(prepared: Any, whole: Any, stage: Stage) -> None:
    prepared.config["spec"]["training"]["recompute"] = "Always"
    assert stage("train") == 0
    assert weights(prepared) == weights(whole)
