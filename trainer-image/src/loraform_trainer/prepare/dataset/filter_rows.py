"""Filters the rows of a data set in two passes: each row by itself, then rows against each other and the suites.

The text of the rows is kept on disk between the passes; memory holds only keys and numbers, about 100 bytes per row.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loraform_api.dataset import DatasetSpec, OnFinding
from loraform_trainer.prepare.dataset import drop_counts
from loraform_trainer.prepare.dataset.canonical import digest, normal_prompt
from loraform_trainer.prepare.dataset.decontaminate import SuiteIndex, SuiteMatch
from loraform_trainer.prepare.dataset.drop_counts import MAX_EXAMPLES, DropCounts, shortened
from loraform_trainer.prepare.dataset.near import Clusters, near_rows
from loraform_trainer.prepare.dataset.row_checks import CheckedRow, RowChecks
from loraform_trainer.prepare.dataset.rows import MAX_ROWS, TrainingRow
from loraform_trainer.prepare.dataset.shingles import ShingleSets, shingle_sets, union
from loraform_trainer.prepare.dataset.source_rows import SourceRow
from loraform_trainer.prepare.dataset.split import clusters_of
from loraform_trainer.prepare.dataset.spool import Spool
from loraform_trainer.prepare.dataset.validity import CHUNK, CHUNK_CHARACTERS
from loraform_trainer.runtime.errors import DatasetInvalidError

SUSPICIOUS = 0.5
"""Similarity to a suite row from which a kept row is reported."""

ReportProgress = Callable[[int], None]
"""A progress callback; takes the number of rows read so far."""


@dataclass(frozen=True, slots=True)
class NearDuplicateGroup:
    """A kept row and its near duplicates, which were dropped."""

    kept: str
    """Id of the kept row."""
    dropped: list[str]
    """Ids of the first dropped rows."""
    rows: int
    """Number of rows, the kept one included."""


@dataclass
class FilteredRows:
    """The rows that passed the checks of single rows, and which of them are kept; rows are numbered as in `rows`."""

    rows: Spool
    kept: NDArray[np.bool_]
    """Whether each row is kept."""
    clusters: Clusters
    """Rows that must be on one side of the split."""
    prompt_keys: NDArray[np.uint64]
    """Hash of each row's prompt."""
    types: list[tuple[str, ...]]
    """Resource types of each row."""
    undecided: dict[int, tuple[str, str]]
    """Rows that the verifier could not judge, by number: id and reason."""
    groups: list[NearDuplicateGroup] = field(default_factory=list)
    """The largest groups of near duplicates."""
    suspicious: list[str] = field(default_factory=list)
    """The first kept rows that resemble a suite row: id and reason."""
    suspicious_rows: int = 0
    """Number of all such rows."""

    @property
    def undecided_ids(self) -> set[str]:
        """Ids of the rows that the verifier could not judge."""
        return {row_id for row_id, _ in self.undecided.values()}

    def batches(self, selected: NDArray[np.bool_]) -> Iterator[list[TrainingRow]]:
        """Yield the selected rows in their order, in batches."""
        for first, rows in self.rows.batches():
            batch = [row for row, use in zip(rows, selected[first : first + len(rows)], strict=True) if use]
            if batch:
                yield batch


def filter_rows(
    rows: Iterable[SourceRow],
    checks: RowChecks,
    spec: DatasetSpec,
    suite: SuiteIndex,
    drops: DropCounts,
    work: Path,
    report_progress: ReportProgress,
) -> FilteredRows:
    """Apply all checks except the length, counting dropped rows in `drops`.

    `work` is a folder for data that does not fit into memory. Raises DatasetInvalidError for more than `MAX_ROWS` rows.
    """
    first_pass = _FirstPass(spec, suite, work)
    with first_pass.rows:
        for chunk in _chunked(rows, drops):
            first_pass.add(checks.passing_rows(chunk, drops))
            report_progress(drops.read)
    return first_pass.compare(drops)


def _chunked(rows: Iterable[SourceRow], drops: DropCounts) -> Iterator[list[TrainingRow]]:
    """Yield the valid rows in chunks that fit into one request to the verifier; count the invalid ones."""
    chunk: list[TrainingRow] = []
    characters = 0
    for row_id, row in rows:
        drops.read += 1
        if drops.read > MAX_ROWS:
            raise DatasetInvalidError(f"spec.dataset.sources: more than {MAX_ROWS} rows")
        if isinstance(row, str):
            drops.add(drop_counts.INVALID_ROW, f"{row_id}: {row}")
            continue
        chunk.append(row)
        characters += len(row.instruction) + len(row.input) + len(row.response)
        if len(chunk) == CHUNK or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    yield chunk


class _FirstPass:
    """Stores the rows on disk and collects what the second pass needs of each."""

    def __init__(self, spec: DatasetSpec, suite: SuiteIndex, work: Path) -> None:
        self._spec, self._suite = spec, suite
        self.rows = Spool(work / "rows.arrow")
        self._shingles = work / "shingles.u32"
        self._sink = self._shingles.open("wb")
        self._sizes = array("q")
        self._ids: list[str] = []
        self._prompts, self._programs = array("Q"), array("Q")
        self._types: list[tuple[str, ...]] = []
        self._known_types: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._undecided: dict[int, tuple[str, str]] = {}
        self._matches: dict[int, SuiteMatch] = {}

    def add(self, rows: list[CheckedRow]) -> None:
        """Add a batch of rows."""
        first = len(self._ids)
        prompts = [normal_prompt(checked.row.instruction, checked.row.input) for checked in rows]
        prompt_keys, program_keys = [digest(text) for text in prompts], [digest(checked.program) for checked in rows]
        of_prompt, of_program = shingle_sets(prompts), shingle_sets([checked.program for checked in rows])
        matches = self._suite.matches(prompt_keys, program_keys, of_prompt, of_program, SUSPICIOUS)
        both = union(of_prompt, of_program)
        self._sink.write(both.values.tobytes())
        self._sizes.extend(both.sizes.tolist())
        self._prompts.extend(prompt_keys)
        self._programs.extend(program_keys)
        self._ids.extend(checked.row.id for checked in rows)
        self._types.extend(self._known_types.setdefault(checked.types, checked.types) for checked in rows)
        for number, checked in enumerate(rows, first):
            if checked.undecided is not None:
                self._undecided[number] = (checked.row.id, checked.undecided)
        self._matches |= {first + i: match for i, match in enumerate(matches) if match is not None}
        self.rows.append([checked.row for checked in rows])

    def compare(self, drops: DropCounts) -> FilteredRows:
        """Compare the rows with each other and with the suites, and drop duplicates and rows of suites."""
        self._sink.close()
        spec = self._spec
        prompts, programs = (np.frombuffer(keys, np.uint64) for keys in (self._prompts, self._programs))
        kept = np.ones(len(self._ids), bool)
        if spec.deduplicate.exact is not OnFinding.OFF:
            self._drop_duplicates(kept, prompts, programs, drops)
        pairs, groups = self._drop_near_duplicates(kept, drops)
        suspicious = self._drop_suite_rows(kept, drops)
        return FilteredRows(
            self.rows, kept, clusters_of(len(kept), pairs, (prompts, programs)), prompts, self._types, self._undecided,
            groups, suspicious[:MAX_EXAMPLES], len(suspicious),
        )  # fmt: skip

    def _drop_duplicates(
        self, kept: NDArray[np.bool_], prompts: NDArray[np.uint64], programs: NDArray[np.uint64], drops: DropCounts
    ) -> None:
        both = np.column_stack([prompts, programs])
        _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
        earliest = first[which.ravel()]
        for row in np.flatnonzero(earliest != np.arange(len(kept))).tolist():
            kept[row] = False
            drops.add(drop_counts.DUPLICATE, f"{self._ids[row]}: same prompt and program as {self._ids[earliest[row]]}")

    def _drop_near_duplicates(
        self, kept: NDArray[np.bool_], drops: DropCounts
    ) -> tuple[list[tuple[int, int]], list[NearDuplicateGroup]]:
        """Drop near duplicates if the spec says so; return all near pairs, which the split needs, and the groups."""
        numbers = np.flatnonzero(kept)
        rows = self._sets(numbers)
        near = near_rows(rows, self._spec.deduplicate.threshold_percent / 100)
        groups: dict[int, list[int]] = {}
        if self._spec.deduplicate.near is not OnFinding.OFF:
            for row, (original, similarity) in sorted(near.dropped.items()):
                groups.setdefault(original, []).append(row)
                kept[numbers[row]] = False
                ids = self._ids[numbers[row]], self._ids[numbers[original]]
                drops.add(drop_counts.NEAR_DUPLICATE, f"{ids[0]}: near {ids[1]} (similarity {similarity:.2f})")
        largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:MAX_EXAMPLES]
        largest_groups = [
            NearDuplicateGroup(
                kept=self._ids[numbers[original]],
                dropped=[self._ids[numbers[row]] for row in near_rows_of[:MAX_EXAMPLES]],
                rows=len(near_rows_of) + 1,
            )
            for original, near_rows_of in largest
        ]
        return [(int(numbers[one]), int(numbers[other])) for one, other in near.pairs], largest_groups

    def _sets(self, numbers: NDArray[np.int64]) -> ShingleSets:
        offsets = np.concatenate([[0], np.cumsum(np.frombuffer(self._sizes, np.int64))])
        if not offsets[-1]:
            return ShingleSets(np.empty(0, np.uint32), np.zeros(len(numbers) + 1, np.int64))
        all_sets = ShingleSets(np.memmap(self._shingles, np.uint32, "r"), offsets)
        return all_sets if len(numbers) == len(all_sets) else all_sets.select(numbers)

    def _drop_suite_rows(self, kept: NDArray[np.bool_], drops: DropCounts) -> list[str]:
        """Drop rows that are in a suite, or near one of its rows; return the kept rows that resemble a suite row."""
        suspicious = []
        spec = self._spec.decontaminate
        for row, match in self._matches.items():
            if not kept[row]:
                continue
            exact = f"is that of suite row {match.id!r}"
            near = f"is near that of suite row {match.id!r} (similarity {match.similarity:.2f})"
            example = f"{self._ids[row]}: its {match.part} {exact if match.exact else near}"
            is_near = match.exact or match.similarity >= spec.threshold_percent / 100
            if spec.suites is not OnFinding.OFF and is_near:
                kept[row] = False
                drops.add(drop_counts.IN_SUITE, example)
            else:
                suspicious.append(shortened(example, drop_counts.MAX_EXAMPLE))
        return suspicious
