"""Makes the report on a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from loraform_trainer.prepare.dataset.drop_counts import CHECKS, MAX_EXAMPLE, MAX_EXAMPLES, DropCounts, shortened
from loraform_trainer.prepare.dataset.filter_rows import FilteredRows, NearDuplicateGroup
from loraform_trainer.prepare.dataset.lengths import LengthFilter
from loraform_trainer.prepare.dataset.report import DatasetReport, Lengths, NearGroup, RowsWithExamples
from loraform_trainer.prepare.dataset.secret_values import mask

FEW_ROWS = 500
"""Fewer training rows give a warning."""
COMMON_PERCENT = 10
"""Share of all resources above which a type is named in a warning: the model may learn little else."""
MAX_TYPES = 40
"""Resource types in the report, the most frequent ones."""
PERCENTILES = (50, 90, 99, 100)
MAX_WARNING = 300
"""Characters of a warning."""


def make_report(  # noqa: PLR0913 - all parts of the report
    drops: DropCounts,
    filtered: FilteredRows,
    validation: int,
    *,
    validation_percent: int,
    lengths: LengthFilter | None,
    train_tokens: int = 0,
    toolchain: str = "",
    repair: int = 0,
    notes: Sequence[str] = (),
) -> DatasetReport:
    """Return the report; `validation` and `repair` are numbers of rows, `notes` are further warnings, shown first."""
    kept = drops.read - sum(drops.dropped.values())
    undecided = [f"{row_id}: {reason}" for row, (row_id, reason) in filtered.undecided.items() if filtered.kept[row]]
    report = DatasetReport(
        read=drops.read,
        kept=kept,
        train=kept - validation,
        validation=validation,
        repair=repair,
        tokens=train_tokens if lengths else None,
        dropped={
            check: RowsWithExamples(rows=drops.dropped[check], examples=drops.examples[check])
            for check in CHECKS
            if check in drops.dropped
        },
        near_groups=[_group(group) for group in filtered.groups],
        types=_types(filtered),
        lengths=_lengths(lengths) if lengths else None,
        unjudged=_with_examples(undecided),
        in_doubt=RowsWithExamples(rows=filtered.suspicious_rows, examples=filtered.suspicious)
        if filtered.suspicious_rows
        else None,
        toolchain=toolchain,
    )
    warnings = [*notes, *_warnings(report, filtered, validation_percent)]
    return report.model_copy(update={"warnings": [shortened(text, MAX_WARNING) for text in warnings]})


def _group(group: NearDuplicateGroup) -> NearGroup:
    return NearGroup(kept=group.kept, dropped=group.dropped, rows=group.rows)


def _with_examples(texts: list[str]) -> RowsWithExamples | None:
    examples = [shortened(mask(text), MAX_EXAMPLE) for text in texts[:MAX_EXAMPLES]]
    return RowsWithExamples(rows=len(texts), examples=examples) if texts else None


def _types(filtered: FilteredRows) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for types, rows in Counter(t for t, kept in zip(filtered.types, filtered.kept, strict=True) if kept).items():
        for name in types:
            counts[name] += rows
    return dict(counts.most_common(MAX_TYPES))


def _lengths(lengths: LengthFilter) -> Lengths | None:
    prompt, response = np.array(lengths.prompt_lengths), np.array(lengths.response_lengths)
    if not len(prompt):
        return None
    return Lengths(prompt=_percentiles(prompt), response=_percentiles(response), both=_percentiles(prompt + response))


def _percentiles(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, int]:
    return {f"p{p}": int(np.percentile(values, p, method="higher")) for p in PERCENTILES}


def _warnings(report: DatasetReport, filtered: FilteredRows, validation_percent: int) -> Iterator[str]:
    if validation_percent and not report.validation:
        yield (
            f"no validation rows, so there will be no validation loss: each of the {_clusters(filtered)} clusters of "
            f"near rows is larger than {validation_percent} % of the rows"
        )
    if report.unjudged:
        yield f"{report.unjudged.rows} kept rows could not be validated; first: {report.unjudged.examples[0]}"
    if report.in_doubt:
        yield f"{report.in_doubt.rows} kept rows resemble rows of a suite; first: {report.in_doubt.examples[0]}"
    if report.train < FEW_ROWS:
        yield f"only {report.train} training rows: fewer than {FEW_ROWS} seldom teach more than the form of answers"
    total = sum(report.types.values())
    common = [f"{n} {100 * c // total} %" for n, c in report.types.items() if c * 100 > COMMON_PERCENT * total]
    if common:
        shown = ", ".join(common[:4]) + (f" and {len(common) - 4} more" if len(common) > 4 else "")
        yield f"resource types with more than {COMMON_PERCENT} % of all resources: {shown}"


def _clusters(filtered: FilteredRows) -> int:
    return len({filtered.clusters.find(int(row)) for row in np.flatnonzero(filtered.kept)})
