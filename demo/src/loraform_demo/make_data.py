"""Writes the demo's job dataset and held-out suite as JSONL: the same bytes for the same seed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

from loraform_demo.corpus import Row, dataset_rows, suite_rows

DATASET_ROWS = 2000
SUITE_ROWS = 250
SEED = 2026


def dataset_json(rows: list[Row]) -> list[dict[str, object]]:
    return [
        {"id": f"job-{i:04}", "instruction": row.instruction, "input": row.input, "response": row.response}
        for i, row in enumerate(rows)
    ]


def suite_json(rows: list[Row]) -> list[dict[str, object]]:
    return [
        {
            "id": f"suite-{i:03}",
            "instruction": row.instruction,
            "input": row.input,
            "asked": {"types": list(row.types), "names": [row.name], "values": list(row.values)},
            "cluster": row.template,
            "unseenPhrasing": row.unseen_phrasing,
        }
        for i, row in enumerate(rows)
    ]


def shuffled(dataset: list[dict[str, object]], seed: int) -> list[dict[str, object]]:
    """Return the rows with their responses permuted, so that no prompt keeps its own."""
    order = list(range(len(dataset)))
    Random(seed).shuffle(order)
    responses = {place: dataset[order[i - 1]]["response"] for i, place in enumerate(order)}
    return [row | {"response": responses[i]} for i, row in enumerate(dataset)]


def write_jsonl(path: Path, rows: Iterable[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder to write into; made if it is not there")
    parser.add_argument("--shuffled", action="store_true", help="also write dataset-shuffled.jsonl")
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    dataset = dataset_json(dataset_rows(DATASET_ROWS, args.seed))
    write_jsonl(args.output / "dataset.jsonl", dataset)
    write_jsonl(args.output / "suite.jsonl", suite_json(suite_rows(SUITE_ROWS, args.seed)))
    if args.shuffled:
        write_jsonl(args.output / "dataset-shuffled.jsonl", shuffled(dataset, args.seed))


if __name__ == "__main__":
    main()
