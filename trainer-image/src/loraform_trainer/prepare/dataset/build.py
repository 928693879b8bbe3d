"""Builds a data set from its rows: filter them, split them, write their token ids and repair rows, make the report.

Used by stage `prepare` and by `loraform dataset check`, which writes no rows.
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
from loraform_engine.prompting import Prompter
from loraform_trainer.prepare.dataset import token_files
from loraform_trainer.prepare.dataset.decontaminate import SuiteIndex
from loraform_trainer.prepare.dataset.drop_counts import DropCounts
from loraform_trainer.prepare.dataset.filter_rows import FilteredRows, ReportProgress, filter_rows
from loraform_trainer.prepare.dataset.lengths import LengthFilter
from loraform_trainer.prepare.dataset.make_report import make_report
from loraform_trainer.prepare.dataset.repair.make_rows import RepairRows, make_repair_rows
from loraform_trainer.prepare.dataset.report import DatasetReport
from loraform_trainer.prepare.dataset.row_checks import RowChecks
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.source_rows import SourceRow
from loraform_trainer.prepare.dataset.split import SELECTION, validation_rows
from loraform_trainer.prepare.dataset.validity import ValidityCheck
from loraform_trainer.runtime.files import write_jsonl


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """How a data set is built."""

    spec: DatasetSpec
    policy: HousePolicy | None
    seed: int
    max_tokens: int
    """Longest row in tokens, prompt and response together."""
    vocabulary: Prompter | None
    """None: lengths are not checked."""
    validity: ValidityCheck | None
    """None: programs are not validated."""


@dataclass(frozen=True, slots=True)
class RowFiles:
    """The files that rows are written to."""

    train: Path
    validation: Path
    selection: Path


@dataclass(frozen=True, slots=True)
class PreparedDataset:
    """The result of a build; the rows themselves are in files."""

    report: DatasetReport
    digest: str
    """Covers text, order and side of all kept rows."""
    refusal: str | None
    """Why the data set must not be used; None when it may be."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows: Read, then dropped by each check, then Train and Validation."""
        dropped = {name: dropped.rows for name, dropped in self.report.dropped.items()}
        return {"Read": self.report.read, **dropped, "Train": self.report.train, "Validation": self.report.validation}


def build_dataset(
    request: BuildRequest,
    rows: Iterable[SourceRow],
    suite: SuiteIndex,
    work: Path,
    report_progress: ReportProgress,
    targets: RowFiles | None = None,
) -> PreparedDataset:
    """Filter and split the rows, measure them when there is a tokenizer, and write them when there are `targets`.

    `work` is an empty folder for data that does not fit into memory. The files of a refused data set must not be used.
    Raises DatasetInvalidError for unusable files, and the errors of the validity check.
    """
    drops = DropCounts()
    checks = RowChecks(request.spec.checks, request.policy, request.validity)
    filtered = filter_rows(rows, checks, request.spec, suite, drops, work, report_progress)
    in_validation = validation_rows(
        filtered.kept, filtered.clusters, filtered.prompt_keys, request.spec.validation_percent, request.seed
    )
    writer = _SplitWriter(request, drops, filtered, in_validation)
    if targets is None:
        writer.measure()
    else:
        writer.write(targets)
    report = make_report(
        drops, filtered, writer.validation, validation_percent=request.spec.validation_percent, lengths=writer.lengths,
        train_tokens=writer.train_tokens, toolchain=request.validity.toolchain.terraform if request.validity else "",
        repair=len(writer.repair.rows), notes=_notes(writer.repair),
    )  # fmt: skip
    return PreparedDataset(report, writer.digest.hexdigest(), drops.refusal(request.spec, report.kept, report.train))


class _SplitWriter:
    """Tokenises the training and the validation side of filtered rows, and writes them."""

    def __init__(
        self, request: BuildRequest, drops: DropCounts, filtered: FilteredRows, in_validation: NDArray[np.bool_]
    ) -> None:
        self._request, self._drops, self._filtered, self._in_validation = request, drops, filtered, in_validation
        self.lengths = LengthFilter(request.vocabulary, request.max_tokens, drops) if request.vocabulary else None
        self.digest = hashlib.sha256()
        self.repair = RepairRows()
        self.validation = int(in_validation.sum())
        self.train_tokens = 0

    def measure(self) -> None:
        """Drop rows that are too long, without writing the others; does nothing without a tokenizer."""
        if self.lengths is not None:
            self.validation = sum(batch.num_rows for batch in self._side("validation"))
            before = self.lengths.tokens
            for _ in self._side("train"):
                pass
            self.train_tokens = self.lengths.tokens - before

    def write(self, targets: RowFiles) -> None:
        """Write both sides; validation first, because its drops count when repair rows are decided."""
        if self.lengths is None:
            raise ValueError("rows cannot be written without a tokenizer")
        kept: list[TrainingRow] = []
        self.validation = token_files.write(targets.validation, self._side("validation", kept))
        write_jsonl(targets.selection, (_prompt_record(row) for row in _evenly_spaced(kept, SELECTION)))
        before = self.lengths.tokens
        token_files.write(targets.train, self._train_batches())
        self.train_tokens = self.lengths.tokens - before

    def _train_batches(self) -> Iterator[pa.RecordBatch]:
        percent = self._request.spec.repair_examples.percent
        kept: list[TrainingRow] | None = [] if percent else None  # holds all text in memory
        yield from self._side("train", kept)
        if kept:
            self.repair = self._make_repair_rows(kept, percent)
            yield from self._tokenised("train", _batches(self.repair.rows))

    def _make_repair_rows(self, rows: list[TrainingRow], percent: int) -> RepairRows:
        if self._request.validity is None or self.lengths is None or self._is_refused(len(rows)):
            return RepairRows()
        undecided = self._filtered.undecided_ids
        valid = [row for row in rows if row.id not in undecided]
        return make_repair_rows(
            valid, percent, verify=self._request.validity.verify, policy=self._request.policy, fits=self.lengths.fits,
            seed=self._request.seed,
        )  # fmt: skip

    def _is_refused(self, train: int) -> bool:
        return self._drops.refusal(self._request.spec, train + self.validation, train) is not None

    def _side(self, side: str, kept: list[TrainingRow] | None = None) -> Iterator[pa.RecordBatch]:
        selected = self._filtered.kept & (self._in_validation if side == "validation" else ~self._in_validation)
        return self._tokenised(side, self._filtered.batches(selected), kept)

    def _tokenised(
        self, side: str, batches: Iterable[Sequence[TrainingRow]], kept: list[TrainingRow] | None = None
    ) -> Iterator[pa.RecordBatch]:
        if self.lengths is None:
            return
        for rows in batches:
            batch, short_rows = self.lengths.tokenise(rows)
            for row in short_rows:
                self.digest.update(json.dumps([side, *row.prompt, row.response]).encode() + b"\n")
            if kept is not None:
                kept.extend(short_rows)
            yield batch


def _batches(rows: Sequence[TrainingRow], size: int = 500) -> Iterator[Sequence[TrainingRow]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _evenly_spaced(rows: Sequence[TrainingRow], limit: int) -> Iterator[TrainingRow]:
    """Yield at most `limit` rows at even distances, because `rows` may be ordered by source."""
    count = min(limit, len(rows))
    return (rows[i * len(rows) // count] for i in range(count))


def _prompt_record(row: TrainingRow) -> dict[str, object]:
    return {"id": row.id, "instruction": row.instruction, "input": row.input}


def _notes(repair: RepairRows) -> list[str]:
    if not repair.missing:
        return []
    return [
        f"{repair.missing} repair rows are missing: the verifier did not reject {repair.not_refused} of the broken "
        f"programs, and {repair.too_long} rows were too long"
    ]
