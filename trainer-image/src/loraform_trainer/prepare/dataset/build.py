"""From found rows to what training reads: all checks, the split, token ids on disk, repair rows, the report.

The stage `prepare` and `loraform dataset check` both do this; the command writes no rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loraform_api.dataset import DatasetSpec
from loraform_api.verification import HousePolicy
from loraform_trainer.prepare.dataset import token_files
from loraform_trainer.prepare.dataset.checks import Checks
from loraform_trainer.prepare.dataset.decontaminate import SuiteIndex
from loraform_trainer.prepare.dataset.dropped import Ledger
from loraform_trainer.prepare.dataset.lengths import Measured
from loraform_trainer.prepare.dataset.make_report import report
from loraform_trainer.prepare.dataset.pipeline import Checked, Found, Told, check
from loraform_trainer.prepare.dataset.repair.make_rows import Repaired, repair_rows
from loraform_trainer.prepare.dataset.report import Report
from loraform_trainer.prepare.dataset.split import SELECTION, validation_rows
from loraform_trainer.prepare.dataset.validity import Validity
from loraform_trainer.runtime.files import write_jsonl
from loraform_trainer.runtime.rows import Row
from loraform_trainer.runtime.tokens import BaseTokens


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of the rows."""

    spec: DatasetSpec
    policy: HousePolicy | None
    seed: int
    longest: int
    """Tokens of the longest row, prompt and response together."""
    vocabulary: BaseTokens | None
    """Without one no length is known."""
    validity: Validity | None
    """Without one nothing is validated."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Where rows are written."""

    train: Path
    validation: Path
    selection: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    report: Report
    digest: str
    """Of all kept rows: their text, their order and their side."""
    refusal: str | None
    """Why this is no data set to train on."""

    @property
    def counts(self) -> dict[str, int]:
        """Rows by filter, in order: Read, what each check dropped, Train, Validation."""
        dropped = {name: dropped.rows for name, dropped in self.report.dropped.items()}
        return {"Read": self.report.read, **dropped, "Train": self.report.train, "Validation": self.report.validation}


def prepare_rows(
    job: Job, found: Iterable[Found], suite: SuiteIndex, work: Path, told: Told, targets: Targets | None = None
) -> Outcome:
    """Check, split, and, with a tokenizer, measure the rows; with `targets` also write them.

    `work` is an empty folder for what does not fit into memory. A refused data set leaves rows that nobody may use.
    """
    ledger = Ledger()
    checks = Checks(job.spec.checks, job.policy, job.validity)
    checked = check(found, checks, job.spec, suite, ledger, work, told)
    chosen = validation_rows(checked.kept, checked.clusters, checked.prompt_keys, job.spec.validation_percent, job.seed)
    sides = _Sides(job, ledger, checked, chosen)
    if targets is None:
        sides.measure()
    else:
        sides.write(targets)
    made = report(
        ledger, checked, sides.validation, validation_percent=job.spec.validation_percent, measured=sides.measured,
        train_tokens=sides.train_tokens, toolchain=job.validity.toolchain.terraform if job.validity else "",
        repair=len(sides.repaired.rows), notes=_notes(sides.repaired),
    )  # fmt: skip
    return Outcome(made, sides.digest.hexdigest(), ledger.refusal(job.spec, made.kept, made.train))


class _Sides:
    """The training and the validation side of checked rows, on their way to disk."""

    def __init__(self, job: Job, ledger: Ledger, checked: Checked, chosen: NDArray[np.bool_]) -> None:
        self._job, self._ledger, self._checked, self._chosen = job, ledger, checked, chosen
        self.measured = Measured(job.vocabulary, job.longest, ledger) if job.vocabulary else None
        self.digest = hashlib.sha256()
        self.repaired = Repaired()
        self.validation = int(chosen.sum())
        self.train_tokens = 0

    def measure(self) -> None:
        """Find the lengths, where there is a tokenizer."""
        if self.measured is not None:
            self.validation = sum(block.num_rows for block in self._blocks("validation"))
            before = self.measured.tokens
            for _ in self._blocks("train"):
                pass
            self.train_tokens = self.measured.tokens - before

    def write(self, targets: Targets) -> None:
        """Write both sides, validation first: what it drops counts before repair rows are made."""
        if self.measured is None:
            raise ValueError("rows cannot be written without a tokenizer")
        kept: list[Row] = []
        self.validation = token_files.write(targets.validation, self._blocks("validation", kept))
        write_jsonl(targets.selection, (_selection(row) for row in _spread(kept, SELECTION)))
        before = self.measured.tokens
        token_files.write(targets.train, self._training())
        self.train_tokens = self.measured.tokens - before

    def _training(self) -> Iterator[pa.RecordBatch]:
        percent = self._job.spec.repair_examples.percent
        kept: list[Row] | None = [] if percent else None  # all text in memory, so only where it is needed
        yield from self._blocks("train", kept)
        if kept:
            self.repaired = self._repaired(kept, percent)
            yield from self._written("train", _batches(self.repaired.rows))

    def _repaired(self, rows: list[Row], percent: int) -> Repaired:
        if self._job.validity is None or self.measured is None or self._refused(len(rows)):
            return Repaired()
        undecided = self._checked.undecided_ids
        sure = [row for row in rows if row.id not in undecided]
        return repair_rows(
            sure, percent, verify=self._job.validity.verify, policy=self._job.policy, fits=self.measured.fits,
            seed=self._job.seed,
        )  # fmt: skip

    def _refused(self, train: int) -> bool:
        return self._ledger.refusal(self._job.spec, train + self.validation, train) is not None

    def _blocks(self, side: str, kept: list[Row] | None = None) -> Iterator[pa.RecordBatch]:
        wanted = self._checked.kept & (self._chosen if side == "validation" else ~self._chosen)
        return self._written(side, self._checked.batches(wanted), kept)

    def _written(
        self, side: str, batches: Iterable[Sequence[Row]], kept: list[Row] | None = None
    ) -> Iterator[pa.RecordBatch]:
        if self.measured is None:
            return
        for rows in batches:
            block, fitting = self.measured.block(rows)
            for row in fitting:
                self.digest.update(json.dumps([side, *row.prompt, row.response]).encode() + b"\n")
            if kept is not None:
                kept.extend(fitting)
            yield block


def _batches(rows: Sequence[Row], size: int = 500) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _spread(rows: Sequence[Row], most: int) -> Iterator[Row]:
    """Yield at most `most` rows from all over `rows`, which may be ordered by source."""
    count = min(most, len(rows))
    return (rows[i * len(rows) // count] for i in range(count))


def _selection(row: Row) -> dict[str, object]:
    return {"id": row.id, "instruction": row.instruction, "input": row.input}


def _notes(repaired: Repaired) -> list[str]:
    if not repaired.missing:
        return []
    return [
        f"{repaired.missing} repair rows could not be made: {repaired.not_refused} mistakes were not refused, "
        f"{repaired.too_long} rows were too long"
    ]
