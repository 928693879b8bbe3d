"""Stage `train`: a LoRA adapter on a frozen base. Resumes from the newest sealed checkpoint, bit for bit."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, TrainingArguments, set_seed

from loraform_api.artifact import ADAPTER_CONFIG, ADAPTER_FILES, PARITY_FILE
from loraform_api.evaluation import LossPoint
from loraform_api.finetunejob import TrainingSpec
from loraform_api.names import RunStage
from loraform_api.run import RunConfig, StageReport, TrainResult
from loraform_trainer import checkpoints, data, forgetting, parity, tokens
from loraform_trainer.context import Context
from loraform_trainer.data import TokenRow
from loraform_trainer.errors import BaseModelInvalidError, InvalidConfigError, SavedAndStoppedError, StageError
from loraform_trainer.files import fsync_file, write_atomic, write_jsonl
from loraform_trainer.staging import digest_of
from loraform_trainer.trainer import LoRATrainer, ReportProgress, StopWhenAsked

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LOGS_A_RUN = 200


def run(context: Context) -> StageReport:
    """Train and save the adapter; raises SavedAndStoppedError when asked to stop on the way."""
    checkpoint = checkpoints.newest(context.paths.checkpoints)
    began_at = checkpoints.step_of(checkpoint)
    try:
        return _train(context, checkpoint, began_at)
    except StageError as error:
        error.resumed_from_step = began_at
        raise


def _train(context: Context, checkpoint: Path | None, began_at: int) -> StageReport:
    config, paths = context.config, context.paths
    train, validation = data.read(paths.train_rows), data.read(paths.validation_rows)
    log.info("%d training rows; beginning at step %d", len(train), began_at)
    model = build_model(config, paths.base)
    frozen = checksum(model)
    arguments = training_arguments(config, paths.checkpoints, len(train))
    callbacks = [StopWhenAsked(context.stop), ReportProgress(context.progress)]
    trainer = LoRATrainer(model, arguments, train, validation, callbacks)
    if context.stop.is_set():
        raise SavedAndStoppedError(f"asked to stop before training; step {began_at} stays saved")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.state.global_step < trainer.state.max_steps:
        raise SavedAndStoppedError(f"asked to stop; saved at step {trainer.state.global_step}")
    if checksum(model) != frozen:
        raise StageError("the frozen base changed during training: this is a fault of the trainer")
    return _finish(context, trainer, train, validation, began_at)


def build_model(config: RunConfig, base: Path) -> Any:
    """Return the base in the engine's number type with a fresh adapter in float32."""
    if config.engine_dtype not in DTYPES:
        raise InvalidConfigError(f"engineDtype: {config.engine_dtype!r} is not one of {', '.join(DTYPES)}")
    lora, training = config.spec.lora, config.spec.training
    set_seed(training.seed)
    model = _load_base(base, DTYPES[config.engine_dtype])
    shape = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=lora.target_modules or "all-linear",
    )
    return get_peft_model(model, shape, autocast_adapter_dtype=True)


def _load_base(base: Path, dtype: torch.dtype) -> Any:
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False,
            output_loading_info=True,
        )  # fmt: skip
    except (ValueError, KeyError, OSError) as error:
        raise BaseModelInvalidError(f"the base model cannot be loaded: {error}") from error
    model, found = loaded
    if found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise BaseModelInvalidError(f"the base model's *.safetensors lack weights, for example {missing}")
    model.config.use_cache = False
    return model


def checksum(model: Any) -> list[int]:
    """Return a sum of the bit patterns of each frozen parameter: any changed weight shows."""
    return [
        int(p.detach().flatten().view(torch.int16).sum(dtype=torch.int64))
        for p in model.parameters()
        if not p.requires_grad
    ]


def training_arguments(config: RunConfig, folder: Path, rows: int) -> TrainingArguments:
    """Translate the spec into transformers' words."""
    training = config.spec.training
    steps = total_steps(training, rows)
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.micro_batch_size,
        per_device_eval_batch_size=training.micro_batch_size,
        gradient_accumulation_steps=training.batch_size // training.micro_batch_size,
        learning_rate=float(training.learning_rate),
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(steps * training.warmup_percent / 100),
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        seed=training.seed,
        save_strategy="steps",
        save_steps=config.spec.checkpoint.every_steps,
        save_total_limit=2,
        logging_steps=max(1, steps // LOGS_A_RUN),
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
    )


def total_steps(training: TrainingSpec, rows: int) -> int:
    """Return the optimiser steps of the whole run, as transformers counts them."""
    batches = math.ceil(rows / training.micro_batch_size)
    return training.epochs * math.ceil(batches / (training.batch_size // training.micro_batch_size))


def _finish(
    context: Context, trainer: LoRATrainer, train: Sequence[TokenRow], validation: Sequence[TokenRow], began_at: int
) -> StageReport:
    paths, model, state = context.paths, trainer.model, trainer.state
    validation_loss = trainer.evaluate()["eval_loss"] if validation else None
    _save_adapter(model, paths.adapter)
    vocabulary = tokens.load(paths.base)
    rows = parity.choose(validation or train)
    measured = parity.measure(model, rows, vocabulary.template_hash, context.config.engine_dtype)
    write_atomic(paths.adapter / PARITY_FILE, measured.model_dump_json(by_alias=True))
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    write_jsonl(paths.training_log, training_log(state.log_history))
    learnt = context.config.spec.training.epochs * sum(len(row.response_ids) for row in train)
    result = TrainResult(
        steps=state.global_step,
        resumed_from_step=began_at,
        final_loss=f"{losses[-1]:.4f}",
        validation_loss=None if validation_loss is None else f"{validation_loss:.4f}",
        trained_tokens=learnt,
        adapter_digest=digest_of(paths.adapter),
        forgetting=forgetting.measure(model, forgetting.rows(vocabulary, _longest(context.config, model))),
    )
    message = f"{result.steps} steps, loss {result.final_loss}"
    if began_at:
        message += f", resumed from step {began_at}"
    return StageReport(stage=RunStage.TRAIN, message=message, resumed_from_step=began_at, train=result)


def _longest(config: RunConfig, model: Any) -> int:
    """Return the tokens that the model was made for, of those that this run trains on."""
    return min(config.spec.training.max_sequence_length, getattr(model.config, "max_position_embeddings", 2**31))


def training_log(history: Sequence[Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    """Yield the lines of `reports/training.jsonl` from transformers' history, which a checkpoint carries on."""
    for entry in history:
        if "loss" in entry or "eval_loss" in entry:
            point = LossPoint(
                step=int(entry["step"]),
                loss=entry.get("loss"),
                eval_loss=entry.get("eval_loss"),
                learning_rate=entry.get("learning_rate"),
            )
            yield point.model_dump(mode="json", by_alias=True, exclude_none=True)


def _save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter's two files, byte for byte the same for the same weights."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ADAPTER_FILES:
        (partial / name).rename(folder / name)
    shutil.rmtree(partial)  # what is left is a model card
    described = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    described["target_modules"] = sorted(described["target_modules"])  # peft writes a set, in the order of the day
    write_atomic(folder / ADAPTER_CONFIG, json.dumps(described, indent=2, sort_keys=True) + "\n")
    for name in ADAPTER_FILES:
        fsync_file(folder / name)
