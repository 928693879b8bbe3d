"""Makes the model ready: attention for packs, the loss that fits, activations kept or recomputed, compiled or not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from loraform_api.run import RunConfig
from loraform_api.training import Compile
from loraform_trainer.runtime.errors import DatasetInvalidError
from loraform_trainer.train.estimate.estimate import decide_recompute
from loraform_trainer.train.layers import attention
from loraform_trainer.train.layers.blocks import lighten
from loraform_trainer.train.layers.lora import fuse
from loraform_trainer.train.layers.loss import PackLoss
from loraform_trainer.train.model import build
from loraform_trainer.train.token_rows import Rows

log = logging.getLogger(__name__)

SAMPLE = (53, 64)
"""Most tokens of the two documents on which attention and loss are proved."""


def ready_model(config: RunConfig, base: Path, live: Path | None, rows: Rows) -> tuple[Any, PackLoss]:
    """Return the PEFT model, ready to be trained on packed rows, and its loss; both are proved on two of the rows.

    Raises BaseModelInvalidError for an architecture that cannot be trained exactly on packed rows.
    """
    documents = _documents(rows)
    attention.register()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # TF32 for what is left in float32
    model = build(config, base, live, attention=attention.NAME)
    log.info("%d adapted layers compute in one piece", fuse(model))
    causal = model.get_base_model()
    compiled = _compiled(config)
    if not compiled:  # a compiled layer has few passes of its own
        done = lighten(causal)
        log.info("in fewer passes: %s", ", ".join(f"{number} {layers}" for layers, number in done.items()))
    attention.check(causal.config.get_text_config())
    model.eval()
    loss = PackLoss.prove(causal, documents)
    attention.prove(loss.hidden, documents, causal.device)
    model.train()
    if decide_recompute(config, base, _memory()):
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if compiled:
        for layer in causal.get_decoder().layers:  # they share one graph, in a fraction of the whole model's minutes
            layer.compile(dynamic=True)
    return model, loss


def _documents(rows: Rows) -> list[list[int]]:
    """Return the beginnings of the two longest rows; raises DatasetInvalidError for rows that teach nothing."""
    if not len(rows) or not rows.response_lengths.all() or not rows.prompt_lengths.all():
        raise DatasetInvalidError("the prepared rows are none, or one of them has no prompt or no response")
    longest = rows.lengths.argsort(kind="stable")[-2:].tolist()
    whole = [[*rows[i].prompt_ids, *rows[i].response_ids] for i in longest]
    return [ids[:most] for ids, most in zip(whole, SAMPLE, strict=False)]


def _memory() -> int | None:
    """Return the bytes of the GPU; None on a CPU."""
    return torch.cuda.get_device_properties().total_memory if torch.cuda.is_available() else None


def _compiled(config: RunConfig) -> bool:
    wished = config.spec.training.compile is Compile.ON
    if wished and not torch.cuda.is_available():
        log.info("spec.training.compile: On has no effect without a GPU")
    return wished and torch.cuda.is_available()
