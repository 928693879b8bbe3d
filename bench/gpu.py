"""Benchmark 5, for a GPU: LoRA on a model with the shape of an 8B and random weights.

    python bench/gpu.py --output bench/results/gpu.json          # ten minutes on one H200 or H100
    python bench/gpu.py --tiny                                   # a smoke test of the same code on a CPU

The ceiling is the throughput of this GPU's matrix products on random data. Each variant reports tokens per second and
its share of the ceiling, by the required operations (4 per weight, head at label tokens, causal attention within
documents), as the median of the steps after warm-up, each timed separately. "transformers, padded" is transformers'
model call with SDPA, all logits and peft's layers; the next variants add packing with varlen attention, the fused loss,
and fused layers.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from loraform_trainer.train.collate import Pack, collate
from loraform_trainer.train.estimate.flops import ModelFlops
from loraform_trainer.train.layers import attention
from loraform_trainer.train.layers.blocks import fuse_block_layers
from loraform_trainer.train.layers.lora import fuse_lora_layers
from loraform_trainer.train.layers.loss import PackLoss
from loraform_trainer.train.packing import pack_rows
from loraform_trainer.train.token_rows import TokenRows

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
EIGHT_BILLION = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0, "max_position_embeddings": 8192,
}  # fmt: skip
TINY = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 8192,
}  # fmt: skip
AIM_CEILING, AIM_OVER_TRANSFORMERS = 0.45, 1.3


@dataclass(frozen=True)
class Size:
    model: dict[str, Any]
    capacity: int
    warm: int
    steps: int


FULL, SMALL = Size(EIGHT_BILLION, 4096, 4, 20), Size(TINY, 512, 1, 2)


@dataclass(frozen=True)
class Variant:
    name: str
    packed: bool
    fused_loss: bool = False
    fused_layers: bool = False
    compiled: bool = False
    recompute: bool = False


VARIANTS = (
    Variant("transformers, padded", packed=False),
    Variant("+ packed", packed=True),
    Variant("+ loss", packed=True, fused_loss=True),
    Variant("+ layers (ours)", packed=True, fused_loss=True, fused_layers=True),
    Variant("ours + compile", packed=True, fused_loss=True, fused_layers=True, compiled=True),
    Variant("ours + recompute", packed=True, fused_loss=True, fused_layers=True, recompute=True),
)


def ceiling() -> float:
    """Return the operations per second of bfloat16 matrix products of an MLP's size on this device."""
    size = 8192 if ON_GPU else 256
    one, other = (torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    times = list(_seconds(lambda: one @ other, 24))
    return 2 * size**3 / median(times[4:])


def _seconds(work: Callable[[], Any], count: int) -> Iterator[float]:
    for _ in range(count):
        _wait()
        began = time.perf_counter()
        work()
        _wait()
        yield time.perf_counter() - began


def _wait() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def random_rows(size: Size) -> TokenRows:
    """Return rows with the length distribution of IaC data; an eighth of each row is its prompt."""
    chance = np.random.default_rng(7)
    count = (size.warm + size.steps) * 12
    lengths = np.clip(chance.lognormal(np.log(330), 0.75, count), 40, size.capacity).astype(np.int64)
    ids = [chance.integers(2, size.model["vocab_size"], n).astype(np.int32) for n in lengths.tolist()]
    cuts = [max(1, len(row) // 8) for row in ids]
    lists = pa.list_(pa.int32())
    prompts = pa.array([row[:cut] for row, cut in zip(ids, cuts, strict=True)], lists)
    responses = pa.array([row[cut:] for row, cut in zip(ids, cuts, strict=True)], lists)
    return TokenRows(pa.table({"id": [str(i) for i in range(count)], "prompt_ids": prompts, "response_ids": responses}))


def build(shape: dict[str, Any], variant: Variant) -> Any:
    """Return the model of a variant: random weights in bfloat16, a float32 adapter of rank 32 on all linear layers."""
    torch.manual_seed(0)
    attention.register()
    with torch.device(DEVICE):
        torch.set_default_dtype(torch.bfloat16)
        base = LlamaForCausalLM(LlamaConfig(**shape, use_cache=False, pad_token_id=0))
        torch.set_default_dtype(torch.float32)
    base.set_attn_implementation(attention.NAME if variant.packed else "sdpa")
    model: Any = get_peft_model(
        base, LoraConfig(task_type="CAUSAL_LM", r=32, lora_alpha=32, target_modules="all-linear")
    )
    model = model.to(DEVICE).train()
    if variant.fused_layers:
        fuse_lora_layers(model)
        if not variant.compiled:
            fuse_block_layers(base)
    if variant.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if variant.compiled:
        for layer in base.model.layers:
            layer.compile(dynamic=True)
    return model


def losses(
    model: Any, variant: Variant, rows: TokenRows, capacity: int
) -> Iterator[tuple[Callable[[], torch.Tensor], int, int]]:
    """Yield for each step a function for its mean loss, its tokens without padding, and its required operations."""
    work, loss = ModelFlops.of(model), PackLoss(model.get_base_model(), variant.fused_loss)
    batches = pack_rows(rows.lengths, capacity).draw(rows.lengths, 0, 0)
    if not variant.packed:
        size = round(len(rows) / len(batches))
        batches = [np.arange(i, i + size) for i in range(0, len(rows) - size, size)]
    for batch in batches:
        lengths = rows.lengths[batch]
        labels = int(rows.response_lengths[batch].sum())
        needed = work.of_step(int(lengths.sum()), labels, int((lengths**2).sum()))
        if variant.packed:
            pack = collate(rows, batch.tolist()).to(DEVICE)
            yield partial(_mean, loss, pack), int(lengths.sum()), needed
        else:
            yield partial(_all_logits, model, _padded(rows, batch.tolist())), int(lengths.sum()), needed


def _padded(rows: TokenRows, numbers: list[int]) -> dict[str, torch.Tensor]:
    packs: list[Pack] = [collate(rows, [number]) for number in numbers]
    width = max(pack.tokens for pack in packs)
    batch = {name: torch.zeros(len(packs), width, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    batch["labels"] = torch.full((len(packs), width), -100)
    for index, pack in enumerate(packs):
        batch["input_ids"][index, : pack.tokens] = pack.input_ids[0]
        batch["attention_mask"][index, : pack.tokens] = 1
        batch["labels"][index, pack.label_positions + 1] = pack.labels
    return {name: tensor.to(DEVICE) for name, tensor in batch.items()}


def _mean(loss: PackLoss, pack: Pack) -> torch.Tensor:
    return loss(pack) / len(pack.labels)


def _all_logits(model: Any, padded: dict[str, torch.Tensor]) -> torch.Tensor:
    logits = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits[:, :-1].float()
    return F.cross_entropy(logits.flatten(0, 1), padded["labels"][:, 1:].flatten(), ignore_index=-100)


def measure(size: Size, variant: Variant, reached: float) -> dict[str, Any]:
    """Train a few steps; return tokens per second, share of the ceiling, and peak memory."""
    model = build(size.model, variant)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4, fused=True)
    rows = random_rows(size)
    rates, shares = [], []
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    for number, (loss, tokens, needed) in enumerate(
        islice(losses(model, variant, rows, size.capacity), size.warm + size.steps)
    ):
        (seconds,) = _seconds(partial(_step, model, optimizer, loss), 1)
        if number >= size.warm:
            rates.append(tokens / seconds)
            shares.append(needed / seconds / reached)
    memory = torch.cuda.max_memory_allocated() / 2**30 if ON_GPU else 0.0
    del loss, model, optimizer
    gc.collect()
    torch.cuda.empty_cache()  # no-op without a GPU
    return {
        "way": variant.name, "tokens_per_second": round(median(rates)), "of_ceiling": round(median(shares), 4),
        "gib": round(memory, 1),
    }  # fmt: skip


def _step(model: Any, optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> None:
    with torch.autocast("cuda", torch.bfloat16) if ON_GPU else nullcontext():
        value = loss()
    value.backward()  # type: ignore[no-untyped-call] # torch's
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    optimizer.zero_grad()


def main() -> int:
    """Run every variant, print the results and the aims, and write the JSON."""
    parser = argparse.ArgumentParser(description="LoRA tokens per second on one GPU, by optimisation.")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--tiny", action="store_true", help="use a tiny model, as a smoke test")
    options = parser.parse_args()
    if not ON_GPU and not options.tiny:
        raise SystemExit("no GPU found; use --tiny to try the script on a CPU")
    torch.set_float32_matmul_precision("high")
    reached = ceiling()
    name = torch.cuda.get_device_name() if ON_GPU else "CPU"
    versions = f"torch {version('torch')}, transformers {version('transformers')}"
    print(f"{name}, {versions}: {reached / 1e12:.2f} TFLOP/s reached")
    results = []
    for variant in VARIANTS:
        if variant.compiled and not ON_GPU:
            continue
        results.append(measure(SMALL if options.tiny else FULL, variant, reached))
        print(*results[-1].values(), flush=True)
    ours = max(r["tokens_per_second"] for r in results if r["way"].startswith(("+ layers", "ours + compile")))
    share = max(r["of_ceiling"] for r in results)
    ratio = ours / results[0]["tokens_per_second"]
    print(f"best share of the ceiling {share:.2f} (aim ≥ {AIM_CEILING})")
    print(f"over transformers {ratio:.2f} (aim ≥ {AIM_OVER_TRANSFORMERS})")
    if options.output:
        figures = {"benchmark": "gpu", "device": name, "ceiling": reached, "ways": results}
        options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
