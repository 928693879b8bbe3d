"""What `train` leaves: the adapter with its parity file, candidates, the curve, and the figures of its report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
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
from loraform_trainer.train.estimate.gpus import find
from loraform_trainer.train.token_rows import Rows
from loraform_trainer.train.trainer import LoRATrainer


@dataclass(frozen=True, slots=True)
class Ended:
    """How training ended."""

    taken: int
    """Step whose adapter the model holds."""
    began_at: int
    validation_loss: float | None
    """Over all validation rows."""


def leave(context: Context, trainer: LoRATrainer, ended: Ended, rows: Rows) -> TrainResult:
    """Write everything into the workspace and return the figures; `rows` are those that parity is measured on."""
    config, paths, state, model = context.config, context.paths, trainer.state, trainer.model
    vocabulary = tokens.load(paths.base)
    known = parity.choose(rows)

    def measured() -> ParityFile:
        return parity.measure(model, known, vocabulary.template_hash, config.engine_dtype)

    taken = measured()
    adapter_files.save(model, paths.adapter, taken)
    learnt_elsewhere = forgetting.measure(model, forgetting.rows(vocabulary, _longest(config, model)))
    _leave_candidates(context, model, ended.taken, measured)
    write_jsonl(paths.training_log, training_log(state.log_history))
    if config.spec.output.merge:
        merge.write(context, model)  # the last thing: the base's weights are no longer the base's
    packing = trainer.steps.plan.packing
    return TrainResult(
        steps=state.global_step,
        resumed_from_step=ended.began_at,
        final_loss=f"{last_loss(state.log_history):.4f}",
        validation_loss=None if ended.validation_loss is None else f"{ended.validation_loss:.4f}",
        trained_tokens=trainer.steps.learnt(state.global_step),
        adapter_digest=adapter_digest({name: sha256_file(paths.adapter / name) for name in ADAPTER_FILES}),
        packs=packing.packs,
        fill=f"{packing.fill:.4f}",
        tokens_per_second=f"{trainer.tokens / trainer.seconds:.1f}" if trainer.seconds else None,
        flops_utilization=_utilization(trainer, context.group.size),
        stopped_early=state.global_step < state.max_steps,
        forgetting=learnt_elsewhere,
    )


def _leave_candidates(context: Context, model: Any, taken: int, measured: Any) -> None:
    """Leave the newest checkpoints' adapters, the taken one among them, where more than one is to be measured."""
    paths, count = context.paths, context.config.spec.checkpoint.candidates
    shutil.rmtree(paths.candidates, ignore_errors=True)
    if count == 1:
        return
    by_step = {checkpoints.step_of(folder): folder for folder in checkpoints.sealed(paths.checkpoints)}
    others = sorted(by_step.keys() - {taken}, reverse=True)[: count - 1]
    paths.candidates.mkdir(parents=True)
    for step in (*others, taken):  # the model ends with the adapter that was taken
        adapter_files.load(model, by_step[step])
        adapter_files.save(model, paths.candidates / f"step-{step}", measured())


def _longest(config: RunConfig, model: Any) -> int:
    """Return the tokens that the model was made for, of those that this run trains on."""
    return min(config.spec.training.max_sequence_length, getattr(model.config, "max_position_embeddings", 2**31))


def _utilization(trainer: LoRATrainer, processes: int) -> str | None:
    device = trainer.args.device
    gpu = find(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    if gpu is None or not trainer.seconds:
        return None
    return f"{min(1.0, trainer.flops / trainer.seconds / (gpu.peak * processes)):.4f}"


def training_log(entries: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the lines of `reports/training.jsonl` from transformers' history, which a checkpoint carries on."""
    for entry in entries:
        if "loss" in entry or "eval_loss" in entry:
            known = {name: entry[name] for name in LossPoint.model_fields if name in entry}
            yield LossPoint.model_validate(known).model_dump(mode="json", by_alias=True, exclude_none=True)


def last_loss(entries: Sequence[Mapping[str, Any]]) -> float:
    """Return the newest training loss of transformers' history."""
    return float([entry["loss"] for entry in entries if "loss" in entry][-1])
