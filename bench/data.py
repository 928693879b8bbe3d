"""Benchmark 6: from rows to packs, compared with datasets, datasketch and TRL; and stage `prepare`, run twice.

    python bench/data.py --output bench/results/data.json --docs docs/benchmarks.md

Steps that both sides have are paired on the same rows in one process: CPU seconds, in alternating order. The peer
tokenises with `datasets.map(batched=True)` and transformers' fast tokenizer, sketches with `datasketch.MinHash`, finds
near rows with `MinHashLSH` and packs with TRL's `pack_dataset`; our side is the code of `prepare` and `train`. Checks
that no peer has (syntax, secrets, validity) count on neither side. Then `prepare` runs as in its pod
(`data_prepare.py`).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from data_prepare import BASE, CAPACITY, prepared
from data_rows import EDITS, Copy, dataset
from data_tables import put, show
from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]  # a peer, without type information
from transformers import PreTrainedTokenizerFast
from trl.data_utils import pack_dataset

from loraform_engine.prompting import Prompter
from loraform_trainer.prepare.dataset import token_files
from loraform_trainer.prepare.dataset.near import band_shape, near_rows, sketches
from loraform_trainer.prepare.dataset.row_tokens import encode_rows
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.shingles import ShingleSets, jaccard, shingle_sets, union
from loraform_trainer.runtime import tokens
from loraform_trainer.train.packing import pack_rows

THRESHOLDS = (0.8, 0.7)
CHUNK = 500
PEER_CHUNK = 5000
WHOLE = ("tokenise", "shingles", "near", "pack")
Costs = dict[str, float]
_TOKEN = re.compile(r"\w+|[^\w\s]")


def cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of `work` and its CPU seconds, those of its threads included."""
    before = time.process_time()
    result = work()
    return result, time.process_time() - before


def chunks(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))


def sets_of(rows: Sequence[TrainingRow]) -> ShingleSets:
    """Return the shingles of rows as `prepare` computes them."""
    parts = [
        union(shingle_sets([r.instruction.encode() for r in chunk]), shingle_sets([r.response.encode() for r in chunk]))
        for chunk in chunks(rows, CHUNK)
    ]
    sizes = np.concatenate([[0], *(part.sizes for part in parts)])
    return ShingleSets(np.concatenate([part.values for part in parts]), np.cumsum(sizes))


def ours(rows: Sequence[TrainingRow], vocabulary: Prompter, folder: Path) -> tuple[Costs, set[tuple[int, int]], int]:
    """Return the CPU seconds by step, the near pairs, and the number of packs."""
    lengths: list[int] = []

    def blocks() -> Iterator[Any]:
        for chunk in chunks(rows, CHUNK):
            prompts, responses = encode_rows(vocabulary, chunk)
            lengths.extend(len(p) + len(r) for p, r in zip(prompts, responses, strict=True))
            yield token_files.record_batch([r.id for r in chunk], prompts, responses)

    _, tokenising = cpu(lambda: token_files.write(folder / "rows.arrow", blocks()))
    sets, shingling = cpu(lambda: sets_of(rows))
    bands, height = band_shape(THRESHOLDS[0])
    _, sketching = cpu(lambda: sketches(sets, bands * height))
    near, finding = cpu(lambda: near_rows(sets, THRESHOLDS[0]))
    packing, packed = cpu(lambda: pack_rows(np.array(lengths, np.int64), CAPACITY))
    costs = {"tokenise": tokenising, "shingles": shingling, "sketch": sketching, "near": finding}
    pairs = {(kept, gone) for gone, (kept, _) in near.dropped.items()}
    return {**costs, "pack": packed}, pairs, packing.packs


def peer(rows: Sequence[TrainingRow], vocabulary: Prompter) -> tuple[Costs, set[tuple[int, int]], int]:
    """Return the same for datasets, datasketch and TRL."""
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=vocabulary.encoder.tokenizer)  # type: ignore[no-untyped-call]
    source = datasets.Dataset.from_dict(
        {
            "prompt": [f"### Instruction:\n{r.instruction.strip()}\n\n### Response:\n" for r in rows],
            "completion": [r.response.strip() + "\n" for r in rows],
        }
    )

    def tokenise(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        prompts = fast(batch["prompt"], add_special_tokens=False)["input_ids"]
        completions = fast(batch["completion"], add_special_tokens=False)["input_ids"]
        both = list(zip(prompts, completions, strict=True))
        return {
            "input_ids": [[*p, *c, vocabulary.ends[0]] for p, c in both],
            "completion_mask": [[0] * len(p) + [1] * (len(c) + 1) for p, c in both],
        }

    tokenised, tokenising = cpu(lambda: source.map(tokenise, batched=True, remove_columns=source.column_names))
    costs = {"tokenise": tokenising, "shingles": 0.0, "sketch": 0.0, "near": 0.0}  # near: its sketches included
    index, pairs = MinHashLSH(threshold=THRESHOLDS[0], num_perm=128), set[tuple[int, int]]()
    for start in range(0, len(rows), PEER_CHUNK):
        chunk = rows[start : start + PEER_CHUNK]
        sets, seconds = cpu(lambda chunk=chunk: [_shingles(r) for r in chunk])  # type: ignore[misc] # a default argument
        costs["shingles"] += seconds
        sketches, seconds = cpu(lambda sets=sets: [_sketch(s) for s in sets])  # type: ignore[misc]
        costs["sketch"] += seconds
        near, seconds = cpu(lambda at=start, sketches=sketches: _deduplicated(index, at, sketches))  # type: ignore[misc]
        costs["near"] += seconds
        pairs |= near
    costs["near"] += costs["sketch"]
    packed, costs["pack"] = cpu(lambda: pack_dataset(tokenised, CAPACITY, "bfd"))
    return costs, pairs, len(packed)


def _shingles(one: TrainingRow) -> set[bytes]:
    shingles: set[bytes] = set()
    for text in (one.instruction, one.response):
        words = _TOKEN.findall(text)
        shingles.update(" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4)))
    return shingles


def _sketch(shingles: set[bytes]) -> MinHash:
    sketch = MinHash(num_perm=128)
    sketch.update_batch(shingles)
    return sketch


def _deduplicated(index: MinHashLSH, first: int, sketches: list[MinHash]) -> set[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    for number, sketch in enumerate(sketches, first):
        near = index.query(sketch)
        pairs.update((kept, number) for kept in near)
        if not near:
            index.insert(number, sketch, check_duplication=False)
    return pairs


def recall(rows: Sequence[TrainingRow], copies: list[Copy], peer_pairs: set[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return, by kind of edit and threshold, how many planted pairs are near and how many were found."""
    sets = sets_of(rows)
    dropped = {threshold: set(near_rows(sets, threshold).dropped) for threshold in THRESHOLDS}
    dropped_by_peer = {number for _, number in peer_pairs}
    table = []
    for kind, edit in enumerate(EDITS):
        planted = [c for c in copies if c.kind == kind]
        similar = {c.copy: jaccard(sets[c.original], sets[c.copy]) for c in planted}
        entry: dict[str, Any] = {
            "edit": edit,
            "pairs": len(planted),
            "similarity": round(statistics.mean(similar.values()), 3),
        }
        for threshold in THRESHOLDS:
            near = {number for number, value in similar.items() if value >= threshold}
            entry[f"near at {threshold}"] = len(near)
            entry[f"found at {threshold}"] = len(dropped[threshold] & similar.keys())
            entry[f"found of near at {threshold}"] = len(dropped[threshold] & near)
        near = {number for number, value in similar.items() if value >= THRESHOLDS[0]}
        entry |= {
            "peer found": len(dropped_by_peer & similar.keys()),
            "peer found of near": len(dropped_by_peer & near),
        }
        table.append(entry)
    return table


def paired(size: int, pairs: int, folder: Path) -> dict[str, Any]:
    """Compare both sides on `size` rows, `pairs` times."""
    records, copies = dataset(size)
    rows = [TrainingRow(f"rows:{i}", r["instruction"], "", r["response"]) for i, r in enumerate(records)]
    vocabulary = tokens.load(BASE)
    our_costs: list[Costs] = []
    peer_costs: list[Costs] = []
    for turn in range(pairs):
        for is_ours in (True, False) if turn % 2 == 0 else (False, True):
            if is_ours:
                costs, our_pairs, packs = ours(rows, vocabulary, folder)
                our_costs.append(costs)
            else:
                costs, peer_pairs, peer_packs = peer(rows, vocabulary)
                peer_costs.append(costs)
    for costs in (*our_costs, *peer_costs):
        costs["whole"] = sum(costs[stage] for stage in WHOLE)
    stages = {
        stage: {
            "ours": round(statistics.median(c[stage] for c in our_costs), 4),
            "peer": round(statistics.median(c[stage] for c in peer_costs), 3),
            "ratio": round(
                statistics.median(b[stage] / a[stage] for a, b in zip(our_costs, peer_costs, strict=True)), 2
            ),
        }
        for stage in ("tokenise", "shingles", "sketch", "near", "pack", "whole")
    }
    return {
        "rows": size, "pairs": pairs, "stages": stages, "packs": packs, "peer_packs": peer_packs,
        "near": len({pair[1] for pair in our_pairs}), "peer_near": len({pair[1] for pair in peer_pairs}),
        "recall": recall(rows, copies, peer_pairs),
    }  # fmt: skip


def main() -> int:
    """Run the requested parts, print and write the figures; the file keeps the figures of other parts."""
    parser = argparse.ArgumentParser(description="Compare data preparation with datasets, datasketch and TRL.")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000], help="sizes (default: %(default)s)")
    parser.add_argument("--only", choices=["paired", "prepare"], help="run only this half of the benchmark")
    parser.add_argument("--verifier", metavar="URL", help="verifier service that validates the rows of `prepare`")
    parser.add_argument("--docs", type=Path, help="page whose bench-data section to replace")
    options = parser.parse_args()
    datasets.disable_progress_bars()
    old = json.loads(options.output.read_text()) if options.output and options.output.exists() else {}
    packages = ("datasets", "datasketch", "trl", "transformers", "tokenizers", "rensa", "pyarrow", "numpy")
    figures = {
        "benchmark": "data",
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "load": round(os.getloadavg()[0], 1),
        "paired": old.get("paired", []),
        "prepare": old.get("prepare", []),
    }
    for size in options.rows:
        with tempfile.TemporaryDirectory() as name:
            datasets.config.HF_DATASETS_CACHE = Path(name) / "hf"
            if options.only != "prepare":
                merge(figures["paired"], paired(size, 3 if size <= 20_000 else 1, Path(name)), ("rows",))
            if options.only != "paired":
                merge(figures["prepare"], prepared(size, Path(name), options.verifier), ("rows", "validated"))
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(figures, indent=1) + "\n")
    if options.docs:
        put(options.docs, figures)
    print("\n".join(show(figures)))
    return 0


def merge(entries: list[dict[str, Any]], new: dict[str, Any], by: tuple[str, ...]) -> None:
    """Replace the entry that has the same values of the keys `by`, or add one."""
    others = [entry for entry in entries if any(entry[key] != new[key] for key in by)]
    entries[:] = sorted([*others, new], key=lambda entry: [entry[key] for key in by])


if __name__ == "__main__":
    sys.exit(main())
