"""The report on a data set: what was kept, what went and why, and what people should know of the rest."""

from __future__ import annotations

from collections.abc import Iterator

from loraform_api.meta import WireModel

MAX_WARNINGS = 5
"""The first ones, which the stage's own report repeats."""


class Dropped(WireModel):
    rows: int
    examples: list[str]


class NearGroup(WireModel):
    kept: str
    dropped: list[str]
    """Ids of the first ones."""
    rows: int


class Lengths(WireModel):
    """Percentiles over the kept rows, in tokens: `p50`, `p90`, `p99`, `p100`."""

    prompt: dict[str, int]
    response: dict[str, int]
    both: dict[str, int]


class Report(WireModel):
    """`reports/dataset.json` in the workspace."""

    read: int
    kept: int
    train: int
    validation: int
    repair: int = 0
    tokens: int | None = None
    """Tokens of the training rows; None where no tokenizer was given."""
    dropped: dict[str, Dropped] = {}
    """By check, in their order."""
    near_groups: list[NearGroup] = []
    """The largest groups of near duplicates."""
    types: dict[str, int] = {}
    """Resources of the kept rows by type, the most common first."""
    lengths: Lengths | None = None
    unjudged: Dropped | None = None
    """Kept rows that the verifier could not judge."""
    in_doubt: Dropped | None = None
    """Kept rows that resemble a suite's row."""
    toolchain: str = ""
    """What validated; empty: nothing was."""
    warnings: list[str] = []


def lines(made: Report) -> Iterator[str]:
    """Yield the report as lines for people."""
    yield f"{made.read} rows read, {made.kept} kept: {made.train} for training, {made.validation} for validation"
    if made.repair:
        yield f"{made.repair} repair rows made besides"
    for check, dropped in made.dropped.items():
        yield f"  {check:<14} {dropped.rows:>8}   {dropped.examples[0]}"
        yield from (f"{'':28}{example}" for example in dropped.examples[1:])
    for group in made.near_groups:
        yield f"  near {group.kept}: {group.rows - 1} rows, {', '.join(group.dropped)}"
    total = sum(made.types.values())
    common = [f"{name} {100 * count / total:.0f} %" for name, count in list(made.types.items())[:8]]
    if common:
        yield f"resource types: {', '.join(common)}" + (
            f" and {len(made.types) - 8} more" if len(made.types) > 8 else ""
        )
    if made.lengths:
        for name in ("prompt", "response", "both"):
            values = getattr(made.lengths, name)
            yield f"tokens, {name}: " + ", ".join(f"{key} {value}" for key, value in values.items())
    yield from (f"warning: {warning}" for warning in made.warnings)
