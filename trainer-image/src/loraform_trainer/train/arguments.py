"""The spec in transformers' words."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import TrainingArguments

from loraform_api.finetunejob import FineTuneJobSpec

LOGS_A_RUN = 200
KEPT_CHECKPOINTS = 2
"""At least: the newest may be torn by a crash."""


def training_arguments(spec: FineTuneJobSpec, folder: Path, steps: int, *, validates: bool) -> TrainingArguments:
    """Return the arguments of a run of so many steps, which is one "epoch" of as many "batches" to transformers."""
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
        save_total_limit=max(KEPT_CHECKPOINTS, spec.checkpoint.candidates),
        eval_strategy="steps" if validates else "no",
        eval_steps=every,
        metric_for_best_model="eval_loss" if validates and training.early_stopping else None,
        greater_is_better=False,
        logging_steps=max(1, steps // LOGS_A_RUN),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        dataloader_num_workers=1 if on_gpu else 0,
    )
