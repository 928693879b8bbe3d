"""Writes the results of stage train: adapter, parity file, candidate checkpoints, training log, and TrainResult."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from loraform_api.artifact import ADAPTER_FILES, adapter_digest
from loraform_api.evaluation import LossPoint
from loraform_api.run import RunConfig, TrainResult
from loraform_engine.parity import ParityFile
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.files import sha256_file, write_jsonl
from loraform_trainer.train import adapter_files, checkpoints, forgetting, merge, parity
from loraform_trainer.train.estimate.gpus import find_gpu
from loraform_trainer.train.token_rows import TokenRows
from loraform_trainer.train.trainer import LoRATrainer


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """How training ended."""

    chosen_step: int
    """Step whose adapter the model holds."""
    resumed_from_step: int
    validation_loss: float | None
    """Mean over all validation rows."""


def write_results(context: Context, trainer: LoRATrainer, end: TrainingEnd, rows: TokenRows) -> TrainResult:
    """Write all files into the workspace and return the result; parity is measured on some of `rows`."""
    config, paths, state, model = context.config, context.paths, trainer.state, trainer.model
    vocabulary = tokens.load(paths.base)
    parity_rows = parity.choose(rows)

    def measure_parity() -> ParityFile:
        return parity.measure(model, parity_rows, vocabulary.template_hash, config.engine_dtype)

    adapter_files.save(model, paths.adapter, measure_parity())
    general_rows = forgetting.general_rows(vocabulary, _max_length(config, model))
    measured_forgetting = forgetting.measure(model, general_rows)
    _write_candidates(context, model, end.chosen_step, measure_parity)
    write_jsonl(paths.training_log, training_log(state.log_history))
    if config.spec.output.merge:
        merge.write(context, model)  # last: it changes the base's weights in place
    packing = trainer.steps.plan.packing
    return TrainResult(
        steps=state.global_step,
        resumed_from_step=end.resumed_from_step,
        final_loss=f"{last_loss(state.log_history):.4f}",
        validation_loss=None if end.validation_loss is None else f"{end.validation_loss:.4f}",
        trained_tokens=trainer.steps.label_tokens(state.global_step),
        adapter_digest=adapter_digest({name: sha256_file(paths.adapter / name) for name in ADAPTER_FILES}),
        packs=packing.packs,
        fill=f"{packing.fill:.4f}",
        tokens_per_second=f"{trainer.tokens / trainer.seconds:.1f}" if trainer.seconds else None,
        flops_utilization=_utilization(trainer, context.group.size),
        stopped_early=state.global_step < state.max_steps,
        forgetting=measured_forgetting,
    )


def _write_candidates(context: Context, model: Any, chosen_step: int, measure_parity: Callable[[], ParityFile]) -> None:
    """Write the adapters of the chosen step and of the newest other checkpoints, if evaluation compares several."""
    paths, count = context.paths, context.config.spec.checkpoint.candidates
    shutil.rmtree(paths.candidates, ignore_errors=True)
    if count == 1:
        return
    by_step = {checkpoints.step_of(folder): folder for folder in checkpoints.sealed(paths.checkpoints)}
    others = sorted(by_step.keys() - {chosen_step}, reverse=True)[: count - 1]
    paths.candidates.mkdir(parents=True)
    for step in (*others, chosen_step):  # the chosen step last: the model keeps its adapter
        adapter_files.load(model, by_step[step])
        adapter_files.save(model, paths.candidates / f"step-{step}", measure_parity())


def _max_length(config: RunConfig, model: Any) -> int:
    """Return the run's maximum sequence length in tokens, at most the model's."""
    return min(config.spec.training.max_sequence_length, getattr(model.config, "max_position_embeddings", 2**31))


def _utilization(trainer: LoRATrainer, processes: int) -> str | None:
    device = trainer.args.device
    gpu = find_gpu(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    if gpu is None or not trainer.seconds:
        return None
    return f"{min(1.0, trainer.flops / trainer.seconds / (gpu.peak * processes)):.4f}"


def training_log(entries: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the lines of `reports/training.jsonl` from transformers' log history."""
    for entry in entries:
        if "loss" in entry or "eval_loss" in entry:
            known = {name: entry[name] for name in LossPoint.model_fields if name in entry}
            yield LossPoint.model_validate(known).model_dump(mode="json", by_alias=True, exclude_none=True)


def last_loss(entries: Sequence[Mapping[str, Any]]) -> float:
    """Return the newest training loss of transformers' log history."""
    return float([entry["loss"] for entry in entries if "loss" in entry][-1])
