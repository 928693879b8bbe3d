"""Prepares the model for training: packed attention, fused layers, loss, activation checkpointing, compilation."""

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
from loraform_trainer.train.layers.blocks import fuse_block_layers
from loraform_trainer.train.layers.lora import fuse_lora_layers
from loraform_trainer.train.layers.loss import PackLoss
from loraform_trainer.train.model import build
from loraform_trainer.train.token_rows import TokenRows

log = logging.getLogger(__name__)

PROBE_TOKENS = (53, 64)
"""Maximum tokens of the two documents on which attention and loss are checked."""


def ready_model(config: RunConfig, base: Path, live: Path | None, rows: TokenRows) -> tuple[Any, PackLoss]:
    """Return the PEFT model, ready for training on packed rows, and its loss; both are checked on two of the rows.

    Raises BaseModelInvalidError for an architecture that cannot be trained exactly on packed rows.
    """
    documents = _probe_documents(rows)
    attention.register()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # TF32 for float32 products
    model = build(config, base, live, attention=attention.NAME)
    log.info("fused %d LoRA layers", fuse_lora_layers(model))
    causal = model.get_base_model()
    compiled = _compiled(config)
    if not compiled:  # the compiler fuses these layers itself
        fused = fuse_block_layers(causal)
        log.info("fused %s", ", ".join(f"{number} {layers}" for layers, number in fused.items()))
    attention.check_layer_types(causal.config.get_text_config())
    model.eval()
    loss = PackLoss.choose(causal, documents)
    attention.check_packing(loss.hidden, documents, causal.device)
    model.train()
    if decide_recompute(config, base, _gpu_memory()):
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if compiled:
        for layer in causal.get_decoder().layers:  # all layers share one graph: much faster than compiling the model
            layer.compile(dynamic=True)
    return model, loss


def _probe_documents(rows: TokenRows) -> list[list[int]]:
    """Return the beginnings of the two longest rows; raises DatasetInvalidError if there are no rows or empty texts."""
    if not len(rows) or not rows.response_lengths.all() or not rows.prompt_lengths.all():
        raise DatasetInvalidError("there are no prepared rows, or one of them has no prompt or no response")
    longest = rows.lengths.argsort(kind="stable")[-2:].tolist()
    documents = [[*rows[i].prompt_ids, *rows[i].response_ids] for i in longest]
    return [ids[:limit] for ids, limit in zip(documents, PROBE_TOKENS, strict=False)]


def _gpu_memory() -> int | None:
    """Return the GPU's memory in bytes; None without a GPU."""
    return torch.cuda.get_device_properties().total_memory if torch.cuda.is_available() else None


def _compiled(config: RunConfig) -> bool:
    requested = config.spec.training.compile is Compile.ON
    if requested and not torch.cuda.is_available():
        log.info("spec.training.compile: On has no effect without a GPU")
    return requested and torch.cuda.is_available()
