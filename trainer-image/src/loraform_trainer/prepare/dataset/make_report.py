"""Makes the report on a data set from what the checks left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from loraform_trainer.prepare.dataset.dropped import CHECKS, MAX_EXAMPLE, MAX_EXAMPLES, Ledger, shortened
from loraform_trainer.prepare.dataset.lengths import Measured
from loraform_trainer.prepare.dataset.pipeline import Checked, Group
from loraform_trainer.prepare.dataset.report import Dropped, Lengths, NearGroup, Report
from loraform_trainer.prepare.dataset.secret_values import mask

FEW_ROWS = 500
COMMON_PERCENT = 10
"""Share of all resources from which a type is said to be common: the model may learn little else."""
MAX_TYPES = 40
PERCENTILES = (50, 90, 99, 100)
MAX_WARNING = 300


def report(  # noqa: PLR0913 - the parts of one page
    ledger: Ledger,
    checked: Checked,
    validation: int,
    *,
    validation_percent: int,
    measured: Measured | None,
    train_tokens: int = 0,
    toolchain: str = "",
    repair: int = 0,
    notes: Sequence[str] = (),
) -> Report:
    """Return the report. `notes` are further warnings, the most important ones."""
    kept = ledger.read - sum(ledger.dropped.values())
    undecided = [f"{row_id}: {why}" for row, (row_id, why) in checked.undecided.items() if checked.kept[row]]
    made = Report(
        read=ledger.read,
        kept=kept,
        train=kept - validation,
        validation=validation,
        repair=repair,
        tokens=train_tokens if measured else None,
        dropped={
            c: Dropped(rows=ledger.dropped[c], examples=ledger.examples[c]) for c in CHECKS if c in ledger.dropped
        },
        near_groups=[_group(group) for group in checked.groups],
        types=_types(checked),
        lengths=_lengths(measured) if measured else None,
        unjudged=_some(undecided),
        in_doubt=Dropped(rows=checked.suspicious_rows, examples=checked.suspicious)
        if checked.suspicious_rows
        else None,
        toolchain=toolchain,
    )
    warnings = [*notes, *_warnings(made, checked, validation_percent)]
    return made.model_copy(update={"warnings": [shortened(text, MAX_WARNING) for text in warnings]})


def _group(group: Group) -> NearGroup:
    return NearGroup(kept=group.kept, dropped=group.dropped, rows=group.rows)


def _some(texts: list[str]) -> Dropped | None:
    examples = [shortened(mask(text), MAX_EXAMPLE) for text in texts[:MAX_EXAMPLES]]
    return Dropped(rows=len(texts), examples=examples) if texts else None


def _types(checked: Checked) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for types, rows in Counter(t for t, kept in zip(checked.types, checked.kept, strict=True) if kept).items():
        for name in types:
            counts[name] += rows
    return dict(counts.most_common(MAX_TYPES))


def _lengths(measured: Measured) -> Lengths | None:
    prompt, response = np.array(measured.prompt_lengths), np.array(measured.response_lengths)
    if not len(prompt):
        return None
    return Lengths(prompt=_percentiles(prompt), response=_percentiles(response), both=_percentiles(prompt + response))


def _percentiles(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, int]:
    return {f"p{p}": int(np.percentile(values, p, method="higher")) for p in PERCENTILES}


def _warnings(made: Report, checked: Checked, validation_percent: int) -> Iterator[str]:
    if validation_percent and not made.validation:
        yield (
            f"no rows for validation: the rows form {_clusters(checked)} clusters of near rows, all larger than "
            f"{validation_percent} % of them; there will be no validation loss"
        )
    if made.unjudged:
        yield f"kept though nobody could validate them: {made.unjudged.rows}; first: {made.unjudged.examples[0]}"
    if made.in_doubt:
        yield f"kept though they resemble rows of a suite: {made.in_doubt.rows}; first: {made.in_doubt.examples[0]}"
    if made.train < FEW_ROWS:
        yield f"{made.train} training rows; fewer than {FEW_ROWS} seldom teach more than a form"
    total = sum(made.types.values())
    common = [f"{n} {100 * c // total} %" for n, c in made.types.items() if c * 100 > COMMON_PERCENT * total]
    if common:
        shown = ", ".join(common[:4]) + (f" and {len(common) - 4} more" if len(common) > 4 else "")
        yield f"types with more than {COMMON_PERCENT} % of all resources: {shown}"


def _clusters(checked: Checked) -> int:
    return len({checked.clusters.find(int(row)) for row in np.flatnonzero(checked.kept)})
