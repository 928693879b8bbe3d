"""Asks the demo's model rows of its suite, and counts the answers that hold what was asked.

On a cluster that `make demo` left: `python -m tests.e2e.asked_rows`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from loraform_demo import run_ask, run_store
from loraform_demo.run_cluster import BUILD
from loraform_demo.run_kube import Kube
from loraform_demo.run_steps import MODEL
from loraform_demo.run_store import CLAIM, NAMESPACE

from .runs import demo_kube

CALLERS = 8
PLAIN_ROWS = 10
Row = dict[str, Any]
"""A line of the artifact's `evaluation/rows.jsonl`."""


@dataclass(frozen=True)
class Asked:
    """What the answers of one way to ask are like."""

    rows: int
    holding: int
    """Answers that hold every name and value that the row asks for."""
    as_evaluated: int
    """Answers that are the evaluated ones, character by character."""
    input_from: set[str]


def evaluated_rows(kube: Kube) -> list[Row]:
    """Return the candidate's greedy answers, as the model wrote them."""
    uri = json.loads((BUILD / "demo.json").read_text())["adapter"]["uri"]
    folder = uri.removeprefix(f"pvc://{CLAIM}/").rstrip("/")
    lines = map(json.loads, run_store.read(kube, f"{folder}/evaluation/rows.jsonl").splitlines())
    return [r for r in lines if r["arm"] == "Candidate" and not r["sample"]]


def with_input(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["prompt"]["input"]]


def without_input(rows: list[Row]) -> list[Row]:
    """Return a few of the rows that are an instruction alone."""
    return [row for row in rows if not row["prompt"]["input"]][:PLAIN_ROWS]


def by_field(url: str, row: Row) -> Row:
    return run_ask.ask(url, MODEL, row["prompt"]["instruction"], input=row["prompt"]["input"], verify="off")


def by_fence(url: str, row: Row) -> Row:
    message = f"{row['prompt']['instruction']}\n\n```\n{row['prompt']['input']}\n```"
    return run_ask.ask(url, MODEL, message, verify="off")


def as_a_message(url: str, row: Row) -> Row:
    return run_ask.ask(url, MODEL, row["prompt"]["instruction"], verify="off")


WAYS = [(by_field, with_input, "Field"), (by_fence, with_input, "Fence"), (as_a_message, without_input, "None")]
"""Ways to ask, each with the rows that are asked so, and where the answer says that the input is from."""


def ask_all(kube: Kube, rows: list[Row], ask: Callable[[str, Row], Row]) -> Asked:
    """Ask all rows. Nothing is verified: the text is compared with the evaluated one, as the model wrote it."""
    with kube.forwarded(MODEL, NAMESPACE, 80) as url, ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(lambda row: ask(url, row), rows))
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    return Asked(
        rows=len(rows),
        holding=sum(holds(row, text) for row, text in zip(rows, texts, strict=True)),
        as_evaluated=sum(row["raw"] == text for row, text in zip(rows, texts, strict=True)),
        input_from={answer["loraform"]["inputFrom"] for answer in answers},
    )


def holds(row: Row, text: str) -> bool:
    """Return whether a program has every name and value that the row asks for."""
    return all(word in text for word in [*row["asked"]["names"], *row["asked"]["values"]])


def main() -> None:
    kube = demo_kube()
    rows = evaluated_rows(kube)
    for ask, choose, _ in WAYS:
        chosen = choose(rows)
        evaluated = sum(holds(row, row["raw"]) for row in chosen)
        print(f"{ask.__name__}: {ask_all(kube, chosen, ask)}; evaluated: {evaluated} hold what was asked")


if __name__ == "__main__":
    main()
