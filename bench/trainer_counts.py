"""Counts of the trainer benchmark: fill of packs, operations of a step, bytes of logits; and timings of the loss."""

from __future__ import annotations

import tempfile
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from trainer_peers import CAPACITY, Contestant, Ours, Shape, TrlPacked, iac_lengths, random_rows
from trl import pack_dataset
from typing_extensions import override

from loraform_trainer.train.estimate.flops import ModelFlops
from loraform_trainer.train.layers.loss import linear_cross_entropy
from loraform_trainer.train.packing import pack_rows

ROWS = 20_000


def packing_counts() -> list[dict[str, Any]]:
    """Run benchmark 3 on 20,000 rows: our packing, TRL's two strategies, and torchtune's greedy one."""
    lengths = iac_lengths(ROWS)
    column = [np.zeros(n, np.int32) for n in lengths.tolist()]
    rows = datasets.Dataset.from_dict({"input_ids": column})
    ours, seconds = _timed(lambda: pack_rows(lengths, CAPACITY))
    _, drawing = _timed(lambda: ours.draw(lengths, 42, 0))
    results = [_row("ours", ours.packs, ours.tokens, lengths, 0, seconds + drawing)]
    datasets.disable_caching()
    for strategy in ("bfd", "wrapped"):
        packed, seconds = _timed(partial(pack_dataset, rows, CAPACITY, strategy))
        kept = sum(len(ids) for ids in packed["input_ids"])
        cut = _wrapped_cuts(lengths) if strategy == "wrapped" else 0
        results.append(_row(f"TRL {strategy}, as shipped", len(packed), kept, lengths, cut, seconds))
    packs, seconds = _timed(lambda: greedy(lengths.tolist()))
    results.append(_row("greedy, as torchtune", packs, int(lengths.sum()), lengths, 0, seconds))
    return results


def greedy(lengths: list[int]) -> int:
    """Return the number of packs of torchtune's PackedDataset: rows in order, a new pack if the next does not fit."""
    packs, room = 0, 0
    for length in lengths:
        if length > room:
            packs, room = packs + 1, CAPACITY
        room -= length
    return packs


def _wrapped_cuts(lengths: np.ndarray[Any, Any]) -> int:
    ends = np.cumsum(lengths)
    return int(np.sum((ends - lengths) // CAPACITY != (ends - 1) // CAPACITY))


def _row(way: str, packs: int, kept: int, lengths: np.ndarray[Any, Any], cut: int, seconds: float) -> dict[str, Any]:
    return {
        "way": way, "packs": packs, "fill_percent": round(100 * kept / (packs * CAPACITY), 2),
        "tokens_lost": int(lengths.sum()) - kept, "rows_cut": cut, "cpu_seconds": round(seconds, 3),
    }  # fmt: skip


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return work(), time.process_time() - began


class LogitsBytes(TorchDispatchMode):
    """Measures the peak bytes of all tensors as wide as the vocabulary, weights excluded."""

    def __init__(self, model: Any, vocabulary: int) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._known = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self._now = self.peak = 0

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.dim() and tensor.shape[-1] == self._vocabulary:
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: Any) -> None:
        pointer, size = storage.data_ptr(), storage.nbytes()
        if pointer in self._known:
            return
        self._known.add(pointer)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, pointer, size)

    def _free(self, pointer: int, size: int) -> None:
        self._known.discard(pointer)
        self._now -= size


def _attention_forward(query: Any, key: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    batch, heads, tokens, width = query
    return int(2 * batch * heads * tokens * key[2] * width)  # two products of half a square each (causal)


def _attention_backward(grad: Any, query: Any, key: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return _attention_forward(query, key) * 5 // 2  # recomputed scores and four gradients


COUNTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def flops_and_logits(shape: Shape) -> list[dict[str, Any]]:
    """Run benchmark 4: one step on one pack with our trainer, with recomputed activations, and with TRL."""
    rows = random_rows(shape, 40)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        contestants: tuple[tuple[str, Contestant], ...] = (
            ("ours", Ours(shape, rows, Path(folder))),
            ("ours, recomputing", Ours(shape, rows, Path(folder), recompute=True)),
            ("TRL packed", TrlPacked(shape, rows, Path(folder))),
        )
        for name, contestant in contestants:
            model, batch = contestant.trainer.model, contestant.batches[0]
            labels, lengths = int(rows.response_lengths[batch].sum()), rows.lengths[batch]
            tokens = int(lengths.sum())
            floor = ModelFlops.of(model).of_step(tokens, labels, int((lengths**2).sum()))
            counter, logits = (
                FlopCounterMode(display=False, custom_mapping=COUNTED),
                LogitsBytes(model, shape.vocabulary),
            )
            with counter:
                contestant.run(1)
            with logits:
                contestant.run(1)
            flops = counter.get_total_flops()
            results.append(
                {
                    "way": name,
                    "gflop_per_label": round(flops / labels / 1e9, 4),
                    "to_floor": round(flops / floor, 3),
                    "logits_percent": round(100 * logits.peak / (tokens * shape.vocabulary * 4), 1),
                }
            )
            print(*results[-1].values(), flush=True)
    return results


def head_loss_seconds() -> dict[str, Any]:
    """Return the CPU seconds of head and loss, forward and backward, of ours and of `cut_cross_entropy` if it runs."""
    from cut_cross_entropy import linear_cross_entropy as cut  # noqa: PLC0415 (the import may fail)

    torch.manual_seed(0)
    hidden, weight = torch.randn(1024, 256, requires_grad=True), torch.randn(32768, 256) / 16
    labels = torch.randint(0, 32768, (1024,))
    losses: dict[str, Callable[[], torch.Tensor]] = {
        "ours": lambda: linear_cross_entropy(hidden, weight, labels),
        "cut_cross_entropy": lambda: cut(hidden, weight, labels, reduction="sum", impl="torch_compile"),
    }
    seconds: dict[str, Any] = {}
    for name, loss in losses.items():
        try:
            times = [_timed(partial(_both_ways, loss))[1] for _ in range(6)]
            seconds[name] = round(median(times[1:]), 3)
        except Exception as error:  # the table shows why a peer did not run
            seconds[name] = f"did not run here ({type(error).__name__})"
    return seconds


def _both_ways(loss: Callable[[], torch.Tensor]) -> None:
    loss().backward()  # type: ignore[no-untyped-call] # torch's
