"""Stage `train`: trains a LoRA adapter on a frozen base, and resumes bit for bit from the newest sealed checkpoint.

With several processes, each computes its part of every step, and only the main process writes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import SavedAndStoppedError, StageError
from loraform_trainer.train import adapter_files, checkpoints, results, token_rows
from loraform_trainer.train.arguments import training_arguments
from loraform_trainer.train.callbacks import ProgressReporter, StopEarly, StopOnRequest
from loraform_trainer.train.layers.loss import PackLoss
from loraform_trainer.train.model import checksum
from loraform_trainer.train.ready import ready_model
from loraform_trainer.train.steps import Steps, TrainingPlan, packs_of, spread
from loraform_trainer.train.stops import exhausted
from loraform_trainer.train.token_rows import TokenRows
from loraform_trainer.train.trainer import LoRATrainer

log = logging.getLogger(__name__)

TRAINED_PER_VALIDATED = 16
"""Rows trained between two checkpoints for each row validated after one: validation takes about 3 % of the time."""
MIN_VALIDATED = 32


def run(context: Context) -> StageReport:
    """Train and save the adapter; raises SavedAndStoppedError when stopped by SIGTERM."""
    newest = checkpoints.newest(context.paths.checkpoints) if context.group.is_main else None
    name = context.group.share(None if newest is None else newest.name)
    checkpoint = None if name is None else context.paths.checkpoints / name
    start_step = checkpoints.step_of(checkpoint)
    try:
        return _train(context, checkpoint, start_step)
    except StageError as error:
        error.resumed_from_step = start_step
        raise


def _train(context: Context, checkpoint: Path | None, start_step: int) -> StageReport:
    config, paths = context.config, context.paths
    train, validation = token_rows.read(paths.train_rows), token_rows.read(paths.validation_rows)
    plan = TrainingPlan.of(train, config.spec.training, context.group.size)
    log.info("%s; starting at step %d", plan.describe(len(train)), start_step)
    model, loss = ready_model(config, paths.base, None if config.live is None else paths.live, train)
    base_checksum = checksum(model)
    trainer = _trainer(context, model, loss, Steps(train, plan, context.group), validation)
    if context.group.any(context.stop.is_set()):
        raise SavedAndStoppedError(f"stopped on request before training; saved at step {start_step}")
    _run(trainer, checkpoint, _patience(context, validation))
    if checksum(model) != base_checksum:
        raise StageError("the frozen base changed during training; this is a bug of the trainer")
    return _finish(context, trainer, train, validation, start_step)


def _trainer(context: Context, model: Any, loss: PackLoss, steps: Steps, validation: TokenRows) -> LoRATrainer:
    spec, patience = context.config.spec, _patience(context, validation)
    trained_rows = spec.checkpoint.every_steps * spec.training.batch_size
    validated = spread(len(validation), max(MIN_VALIDATED, trained_rows // TRAINED_PER_VALIDATED))
    callbacks: list[TrainerCallback] = [StopOnRequest(context.stop, context.group)]
    if context.group.is_main:
        callbacks.append(ProgressReporter(context.progress, spec.training.epochs))
    if patience is not None:
        callbacks.append(StopEarly(patience))
    return LoRATrainer(
        model,
        training_arguments(spec, context.paths.checkpoints, len(steps), validates=len(validated) > 0),
        loss,
        steps,
        packs_of(validation, validated, steps.plan.packing.capacity),
        callbacks,
        context.group,
    )


def _patience(context: Context, validation: TokenRows) -> int | None:
    early_stopping = context.config.spec.training.early_stopping
    return early_stopping.patience if early_stopping is not None and len(validation) else None


def _run(trainer: LoRATrainer, checkpoint: Path | None, patience: int | None) -> None:
    """Train until all steps are done or early stopping applies; raises SavedAndStoppedError when stopped by SIGTERM."""
    if checkpoint is not None:
        state = TrainerState.load_from_json(str(checkpoint / checkpoints.STATE))
        if _is_over(state, patience):  # an earlier pod finished training, but not the stage
            trainer.state = state
            adapter_files.load(trainer.model, checkpoint)
            return
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if not _is_over(trainer.state, patience):
        raise SavedAndStoppedError(f"stopped on request; saved at step {trainer.state.global_step}")


def _is_over(state: TrainerState, patience: int | None) -> bool:
    return state.global_step >= state.max_steps or (patience is not None and exhausted(state.log_history, patience))


def _finish(
    context: Context, trainer: LoRATrainer, train: TokenRows, validation: TokenRows, start_step: int
) -> StageReport:
    """Choose the best or the newest step's adapter, and write the results on the main process."""
    state = trainer.state
    best = state.best_global_step if _patience(context, validation) is not None else None
    chosen_step = best or state.global_step
    if chosen_step != state.global_step:
        adapter_files.load(trainer.model, context.paths.checkpoints / f"{checkpoints.PREFIX}{chosen_step}")
    loss = None
    if len(validation):
        all_rows = spread(len(validation), len(validation))
        loss = trainer.validation_loss(packs_of(validation, all_rows, trainer.steps.plan.packing.capacity))
    message = f"{state.global_step} steps"
    result = None
    if context.group.is_main:
        end = results.TrainingEnd(chosen_step, start_step, loss)
        result = results.write_results(context, trainer, end, validation or train)
        message += f", loss {result.final_loss}"
    if chosen_step != state.global_step:
        message += f", stopped early, step {chosen_step} chosen"
    if start_step:
        message += f", resumed from step {start_step}"
    return StageReport(stage=RunStage.TRAIN, message=message, resumed_from_step=start_step, train=result)
