"""Translates the spec to transformers' TrainingArguments."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import TrainingArguments

from loraform_api.finetunejob import FineTuneJobSpec

LOGS_PER_RUN = 200
MIN_CHECKPOINTS = 2
"""A crash may leave the newest checkpoint incomplete."""


def training_arguments(spec: FineTuneJobSpec, folder: Path, steps: int, *, validates: bool) -> TrainingArguments:
    """Return the arguments of a run of `steps` steps; to transformers it is one "epoch" of `steps` "batches"."""
    training, every = spec.training, spec.checkpoint.every_steps
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        learning_rate=float(training.learning_rate),
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(steps * training.warmup_percent / 100),
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        seed=training.seed,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=max(MIN_CHECKPOINTS, spec.checkpoint.candidates),
        eval_strategy="steps" if validates else "no",
        eval_steps=every,
        metric_for_best_model="eval_loss" if validates and training.early_stopping else None,
        greater_is_better=False,
        logging_steps=max(1, steps // LOGS_PER_RUN),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        dataloader_num_workers=1 if on_gpu else 0,
    )
