"""Benchmarks 2, 3 and 4: our trainer compared with TRL's and transformers', on a CPU, after benchmark 1 has passed.

    python bench/trainer.py --output bench/results/trainer.json --docs docs/benchmarks.md

2: tokens without padding per CPU second, with one thread, the same packs for ours and TRL's packed mode, in
   alternating order; median and range of at least five paired ratios. 3: fill of packs, and lost tokens, as counts.
4: floating-point operations per label token relative to the required ones, and peak bytes of logits.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from trainer_counts import flops_and_logits, head_loss_seconds, packing_counts
from trainer_peers import Ours, Shape, TransformersPadded, TrlPacked, TrlPadded, packs, random_rows

PAIRS = 5
ROWS = 24
"""Every trainer trains all rows, so that start-up and single batches weigh little."""
GATES = "tests/integration/trainer/test_trainer_exact.py"
SHAPES = (Shape("small head", 2048, 6, 12), Shape("quarter head", 7040, 6, 12), Shape("large head", 32768, 3, 50))
AIMS = {
    ("TRL packed", "small head"): 1.15, ("TRL packed", "quarter head"): 1.25, ("TRL packed", "large head"): 3.0,
    ("TRL padded, its defaults", "small head"): 2.5, ("TRL padded, its defaults", "quarter head"): 2.5,
    ("TRL padded, its defaults", "large head"): 6.0,
}  # fmt: skip
BEGIN, END = "<!-- bench-trainer -->", "<!-- /bench-trainer -->"


@dataclass(frozen=True)
class Paired:
    ours: float
    peer: float
    ratios: list[float]


def gates() -> None:
    """Run benchmark 1, the exactness tests; exit if it fails."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", GATES], check=False)
    if done.returncode:
        raise SystemExit("benchmark 1 failed; nothing was measured")


def same_loss(ours: Ours, trl: TrlPacked) -> float:
    """Return the relative difference of the first pack's loss; TRL's comes from its own collator and loss."""
    step = ours.trainer.steps[0]
    our_loss = float(ours.trainer._loss(step.packs[0]) / step.labels)
    batch = trl.trainer.data_collator([trl.trainer.train_dataset[0]])
    trl_loss = float(trl.trainer.compute_loss(trl.trainer.model, batch))
    return abs(our_loss - trl_loss) / trl_loss


def paired(ours: Any, peer: Any) -> Paired:
    """Return both trainers' tokens per CPU second over all rows, and the ratio of each pair."""
    rates: dict[str, list[float]] = {ours.name: [], peer.name: []}
    for turn in range(PAIRS):
        for contestant in (ours, peer) if turn % 2 else (peer, ours):
            tokens, seconds = contestant.run(len(contestant.batches))
            rates[contestant.name].append(tokens / seconds)
    pairs = zip(rates[ours.name], rates[peer.name], strict=True)
    return Paired(median(rates[ours.name]), median(rates[peer.name]), sorted(a / b for a, b in pairs))


def speed(shape: Shape, folder: Path) -> list[dict[str, Any]]:
    """Run benchmark 2 for one shape."""
    rows = random_rows(shape, ROWS)
    ours, packed = Ours(shape, rows, folder), TrlPacked(shape, rows, folder)
    if (difference := same_loss(ours, packed)) > 1e-5:
        raise SystemExit(f"{shape.name}: TRL's loss of the first pack differs by {difference:.2g}")
    ours.run(1)
    results = []
    for peer in (packed, TransformersPadded(shape, rows, folder), TrlPadded(shape, rows, folder)):
        peer.run(1)
        result = paired(ours, peer)
        aim = AIMS.get((peer.name, shape.name))
        results.append(
            {
                "shape": shape.name,
                "head_percent": round(100 * shape.head_share),
                "prompt_percent": shape.prompt_percent,
                "peer": peer.name,
                "ours_tokens_per_cpu_second": round(result.ours),
                "peer_tokens_per_cpu_second": round(result.peer),
                "ratio": round(median(result.ratios), 2),
                "ratio_range": [round(result.ratios[0], 2), round(result.ratios[-1], 2)],
                "aim": aim,
                "met": None if aim is None else result.ratios[0] >= aim,
            }
        )
        print(*results[-1].values(), flush=True)
    return results


def slots(shape: Shape) -> float:
    """Return the number of slots of padded batches relative to that of packs, for the trained rows."""
    rows = random_rows(shape, ROWS)
    size = max(1, round(len(rows) / len(packs(rows))))
    lengths = rows.lengths
    padded = sum(int(lengths[i : i + size].max()) * len(lengths[i : i + size]) for i in range(0, len(rows), size))
    return padded / int(lengths.sum())


def timed(name: str, measure: Callable[[], Any]) -> Any:
    began = time.monotonic()
    result = measure()
    print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
    return result


def table(figures: dict[str, Any]) -> str:
    """Return the section for docs/benchmarks.md."""
    lines = [
        f"{figures['versions']}; one thread, load {figures['load']:.1f}; {figures['date']}. A ratio is the median of"
        f" {PAIRS} pairs, with the range; an aim counts as met when the whole range reaches it.",
        "",
        "| Head's share | Prompt | Peer | Ours, tokens / CPU s | Peer | Ratio (range) | Aim | Met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for e in figures["speed"]:
        low, high = e["ratio_range"]
        aim = "" if e["aim"] is None else f"≥ {e['aim']}"
        met = {None: "", True: "yes", False: "no"}[e["met"]]
        lines.append(
            f"| {e['head_percent']} % | {e['prompt_percent']} % | {e['peer']} | {e['ours_tokens_per_cpu_second']}"
            f" | {e['peer_tokens_per_cpu_second']} | {e['ratio']} ({low}..{high}) | {aim} | {met} |"
        )
    lines += [
        "",
        "| Packing of 20,000 rows, C = 2048 | Packs | Fill | Tokens lost | Rows cut | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for e in figures["packing"]:
        counts = f"{e['packs']} | {e['fill_percent']} % | {e['tokens_lost']} | {e['rows_cut']} | {e['cpu_seconds']}"
        lines.append(f"| {e['way']} | {counts} |")
    lines += [
        "",
        "| One step, large head | GFLOP a label token | To the floor | Logits at once, of [T, V] |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {e['way']} | {e['gflop_per_label']} | {e['to_floor']} | {e['logits_percent']} % |" for e in figures["flops"]
    ]
    loss = figures["head_loss"]
    lines += ["", f"Head and loss alone, forward and backward, CPU seconds: ours {loss['ours']}, `cut_cross_entropy`"
              f" (torch_compile) {loss['cut_cross_entropy']}. Padded batches of these rows have"
              f" {figures['slot_ratio']} times the slots of the packs."]  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Run all benchmarks, print the results, and write the JSON and the page's section."""
    parser = argparse.ArgumentParser(description="Compare our trainer with TRL and transformers.")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--docs", type=Path, help="page whose bench-trainer section to replace")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    timed("benchmark 1", gates)
    names = ("torch", "transformers", "peft", "trl", "cut-cross-entropy")
    figures: dict[str, Any] = {
        "benchmark": "trainer", "versions": ", ".join(f"{name} {version(name)}" for name in names),
        "load": os.getloadavg()[0], "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    figures["packing"] = timed("benchmark 3", packing_counts)
    figures["flops"] = timed("benchmark 4", partial(flops_and_logits, SHAPES[-1]))
    figures["head_loss"] = timed("head and loss", head_loss_seconds)
    figures["slot_ratio"] = round(slots(SHAPES[0]), 2)
    with tempfile.TemporaryDirectory() as folder:
        measured = [timed(shape.name, partial(speed, shape, Path(folder))) for shape in SHAPES]
    figures["speed"] = [entry for entries in measured for entry in entries]
    print(table(figures))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.docs:
        before, rest = options.docs.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        options.docs.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
