"""Formats the figures of benchmark 6 for a terminal and for `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

AIMS = {"tokenise": 1.25, "sketch": 50, "pack": 100, "whole": 2.5}
MAX_SECOND_RUN_PERCENT = 2
MIN_RECALL_PERCENT = 90
BEGIN, END = "<!-- bench-data -->", "<!-- /bench-data -->"
STAGES = {
    "tokenise": "tokenise, write",
    "shingles": "shingles",
    "sketch": "MinHash sketches alone",
    "near": "near rows, sketches included",
    "pack": "pack decision",
    "whole": "whole",
}


def show(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the figures as lines for a terminal."""
    yield from (line.replace("|", " ").strip() for line in tables(figures) if line and not line.startswith("|---"))


def tables(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the figures as lines of Markdown."""
    versions = figures["versions"]
    yield ", ".join(f"{name} {version}" for name, version in versions.items()) + f"; load {figures['load']}."
    yield ""
    yield from _table(("Rows", "Stage", "Ours, CPU s", "Peer, CPU s", "Ratio", "Aim"), _costs(figures))
    yield ""
    heads = ("Rows", "Copies edited in", "Pairs", "Mean similarity", "Near at 0.8", "Ours found", "datasketch found",
             "Recall of near, ours (aim ≥ 90 %)", "Near at 0.7", "Found at 0.7")  # fmt: skip
    yield from _table(heads, _recalls(figures))
    yield ""
    heads = ("Rows of `prepare`", "Validated", "First run, CPU s", "Seconds", "Peak MiB (aim ≤ 2048)",
             "Second run, CPU s", "of it start and imports", "Share", "Aim")  # fmt: skip
    yield from _table(heads, _runs(figures))


def put(page: Path, figures: dict[str, Any]) -> None:
    """Replace the page's section between the markers."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text("\n".join([before + BEGIN, *tables(figures), END + after]), encoding="utf-8")


def _table(heads: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"


def _met(met: bool) -> str:
    return "met" if met else "**not met**"


def _costs(figures: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for entry in figures["paired"]:
        for stage, cost in entry["stages"].items():
            aim = AIMS.get(stage)
            result = "" if aim is None else f"≥ {aim}: {_met(cost['ratio'] >= aim)}"
            yield entry["rows"], STAGES[stage], cost["ours"], cost["peer"], cost["ratio"], result


def _recalls(figures: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for entry in figures["paired"]:
        for line in entry["recall"]:
            near, found = line["near at 0.8"], line["found of near at 0.8"]
            share = 100 * found / near if near else None
            result = "none is near" if share is None else f"{share:.1f} %: {_met(share >= MIN_RECALL_PERCENT)}"
            yield (
                entry["rows"], line["edit"], line["pairs"], line["similarity"], near, line["found at 0.8"],
                line["peer found"], result, line["near at 0.7"], line["found at 0.7"],
            )  # fmt: skip


def _runs(figures: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for entry in figures["prepare"]:
        first, second, share = entry["first"], entry["second"], entry["second_percent"]
        yield (
            entry["rows"], "yes" if entry["validated"] else "no", first["cpu"], first["wall"], first["peak_mib"],
            second["cpu"], entry["start_cpu"], f"{share} %",
            f"≤ {MAX_SECOND_RUN_PERCENT} %: {_met(share <= MAX_SECOND_RUN_PERCENT)}",
        )  # fmt: skip
