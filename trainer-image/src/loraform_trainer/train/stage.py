"""Stage `train`: a LoRA adapter on a frozen base. Resumes from the newest sealed checkpoint, bit for bit.

Several processes may train one adapter; each is given its share of every step, and only the main one writes.
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
from loraform_trainer.train.callbacks import ReportProgress, StopEarly, StopWhenAsked
from loraform_trainer.train.layers.loss import PackLoss
from loraform_trainer.train.model import checksum
from loraform_trainer.train.ready import ready_model
from loraform_trainer.train.steps import Plan, Steps, packs_of, spread
from loraform_trainer.train.stops import exhausted
from loraform_trainer.train.token_rows import Rows
from loraform_trainer.train.trainer import LoRATrainer

log = logging.getLogger(__name__)

VALIDATED = 16
"""One row in so many of those trained between two checkpoints is validated after each: some 3 % of the time."""
FEWEST_VALIDATED = 32


def run(context: Context) -> StageReport:
    """Train and save the adapter; raises SavedAndStoppedError when asked to stop on the way."""
    found = checkpoints.newest(context.paths.checkpoints) if context.group.is_main else None
    name = context.group.share(None if found is None else found.name)
    checkpoint = None if name is None else context.paths.checkpoints / name
    began_at = checkpoints.step_of(checkpoint)
    try:
        return _train(context, checkpoint, began_at)
    except StageError as error:
        error.resumed_from_step = began_at
        raise


def _train(context: Context, checkpoint: Path | None, began_at: int) -> StageReport:
    config, paths = context.config, context.paths
    train, validation = token_rows.read(paths.train_rows), token_rows.read(paths.validation_rows)
    plan = Plan.of(train, config.spec.training, context.group.size)
    log.info("%s; beginning at step %d", plan.describe(len(train)), began_at)
    model, loss = ready_model(config, paths.base, None if config.live is None else paths.live, train)
    frozen = checksum(model)
    trainer = _trainer(context, model, loss, Steps(train, plan, context.group), validation)
    if context.group.any(context.stop.is_set()):
        raise SavedAndStoppedError(f"asked to stop before training; step {began_at} stays saved")
    _run(trainer, checkpoint, _patience(context, validation))
    if checksum(model) != frozen:
        raise StageError("the frozen base changed during training: this is a fault of the trainer")
    return _finish(context, trainer, train, validation, began_at)


def _trainer(context: Context, model: Any, loss: PackLoss, steps: Steps, validation: Rows) -> LoRATrainer:
    spec, patience = context.config.spec, _patience(context, validation)
    between = spec.checkpoint.every_steps * spec.training.batch_size
    validated = spread(len(validation), max(FEWEST_VALIDATED, between // VALIDATED))
    callbacks: list[TrainerCallback] = [StopWhenAsked(context.stop, context.group)]
    if context.group.is_main:
        callbacks.append(ReportProgress(context.progress, spec.training.epochs))
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


def _patience(context: Context, validation: Rows) -> int | None:
    early = context.config.spec.training.early_stopping
    return early.patience if early is not None and len(validation) else None


def _run(trainer: LoRATrainer, checkpoint: Path | None, patience: int | None) -> None:
    """Train to the end, or to where the validation loss stopped falling; raises SavedAndStoppedError when asked."""
    if checkpoint is not None:
        state = TrainerState.load_from_json(str(checkpoint / checkpoints.STATE))
        if _is_over(state, patience):  # a pod before this one came so far, and no further
            trainer.state = state
            adapter_files.load(trainer.model, checkpoint)
            return
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if not _is_over(trainer.state, patience):
        raise SavedAndStoppedError(f"asked to stop; saved at step {trainer.state.global_step}")


def _is_over(state: TrainerState, patience: int | None) -> bool:
    return state.global_step >= state.max_steps or (patience is not None and exhausted(state.log_history, patience))


def _finish(context: Context, trainer: LoRATrainer, train: Rows, validation: Rows, began_at: int) -> StageReport:
    """Take the best or the newest step's adapter; the main process leaves it with all that is known of it."""
    state = trainer.state
    best = state.best_global_step if _patience(context, validation) is not None else None
    taken = best or state.global_step
    if taken != state.global_step:
        adapter_files.load(trainer.model, context.paths.checkpoints / f"{checkpoints.PREFIX}{taken}")
    loss = None
    if len(validation):
        everything = spread(len(validation), len(validation))
        loss = trainer.validation_loss(packs_of(validation, everything, trainer.steps.plan.packing.capacity))
    message = f"{state.global_step} steps"
    result = None
    if context.group.is_main:
        result = results.leave(context, trainer, results.Ended(taken, began_at, loss), validation or train)
        message += f", loss {result.final_loss}"
    if taken != state.global_step:
        message += f", stopped early, step {taken} taken"
    if began_at:
        message += f", resumed from step {began_at}"
    return StageReport(stage=RunStage.TRAIN, message=message, resumed_from_step=began_at, train=result)
