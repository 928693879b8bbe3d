"""The report on a data set: how many rows were kept and dropped, why, and what to know about the kept rows."""

from __future__ import annotations

from collections.abc import Iterator

from loraform_api.meta import WireModel

MAX_WARNINGS = 5
"""Number of warnings that the stage report repeats, the first ones."""


class RowsWithExamples(WireModel):
    """A number of rows; each example is a row's id and the reason."""

    rows: int
    examples: list[str]


class NearGroup(WireModel):
    """A kept row and its near duplicates."""

    kept: str
    dropped: list[str]
    """Ids of the first dropped rows."""
    rows: int
    """Number of rows, the kept one included."""


class Lengths(WireModel):
    """Percentiles of the lengths of kept rows, in tokens: `p50`, `p90`, `p99`, `p100`."""

    prompt: dict[str, int]
    response: dict[str, int]
    both: dict[str, int]


class DatasetReport(WireModel):
    """The content of `reports/dataset.json` in the workspace."""

    read: int
    kept: int
    train: int
    validation: int
    repair: int = 0
    tokens: int | None = None
    """Tokens of the training rows; None without a tokenizer."""
    dropped: dict[str, RowsWithExamples] = {}
    """Dropped rows by check, in the order of the checks."""
    near_groups: list[NearGroup] = []
    """The largest groups of near duplicates."""
    types: dict[str, int] = {}
    """Resources of the kept rows by type, the most frequent first."""
    lengths: Lengths | None = None
    unjudged: RowsWithExamples | None = None
    """Kept rows that the verifier could not judge."""
    in_doubt: RowsWithExamples | None = None
    """Kept rows that resemble a suite row."""
    toolchain: str = ""
    """The Terraform that validated programs; empty without validation."""
    warnings: list[str] = []


def report_lines(report: DatasetReport) -> Iterator[str]:
    """Yield the report as lines of text."""
    sides = f"{report.train} for training, {report.validation} for validation"
    yield f"{report.read} rows read, {report.kept} kept: {sides}"
    if report.repair:
        yield f"{report.repair} repair rows added"
    for check, dropped in report.dropped.items():
        yield f"  {check:<14} {dropped.rows:>8}   {dropped.examples[0]}"
        yield from (f"{'':28}{example}" for example in dropped.examples[1:])
    for group in report.near_groups:
        yield f"  near {group.kept}: {group.rows - 1} rows, {', '.join(group.dropped)}"
    total = sum(report.types.values())
    most_frequent = [f"{name} {100 * count / total:.0f} %" for name, count in list(report.types.items())[:8]]
    if most_frequent:
        yield f"resource types: {', '.join(most_frequent)}" + (
            f" and {len(report.types) - 8} more" if len(report.types) > 8 else ""
        )
    if report.lengths:
        for name in ("prompt", "response", "both"):
            values = getattr(report.lengths, name)
            yield f"tokens, {name}: " + ", ".join(f"{key} {value}" for key, value in values.items())
    yield from (f"warning: {warning}" for warning in report.warnings)
