"""The whole chain over a data set: each row by itself, then against the others and the suites.

Text waits on disk between the two passes. Memory holds keys and numbers alone, some hundred bytes a row.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loraform_api.dataset import DatasetSpec, OnFinding
from loraform_trainer.prepare.dataset import dropped as names
from loraform_trainer.prepare.dataset.canonical import digest, normal_prompt
from loraform_trainer.prepare.dataset.checks import Checks, Passed
from loraform_trainer.prepare.dataset.decontaminate import Match, SuiteIndex
from loraform_trainer.prepare.dataset.dropped import MAX_EXAMPLES, Ledger, shortened
from loraform_trainer.prepare.dataset.near import Clusters, near_rows
from loraform_trainer.prepare.dataset.shingles import Sets, shingled, union
from loraform_trainer.prepare.dataset.split import clusters_of
from loraform_trainer.prepare.dataset.spool import Spool
from loraform_trainer.prepare.dataset.validity import CHUNK, CHUNK_CHARACTERS
from loraform_trainer.runtime.errors import DatasetInvalidError
from loraform_trainer.runtime.rows import MAX_ROWS, Row

SUSPICIOUS = 0.5
"""Similarity to a suite's row from which people are told."""

Found = tuple[str, Row | str]
"""A row's id, and the row or why it is none."""
Told = Callable[[int], None]
"""Takes how many rows have been read."""


@dataclass(frozen=True, slots=True)
class Group:
    """A row that is kept and those that went because they are near it."""

    kept: str
    dropped: list[str]
    """Ids of the first ones."""
    rows: int


@dataclass
class Checked:
    """What the checks left, by the numbers that rows have in `rows`."""

    rows: Spool
    kept: NDArray[np.bool_]
    clusters: Clusters
    prompt_keys: NDArray[np.uint64]
    types: list[tuple[str, ...]]
    undecided: dict[int, tuple[str, str]]
    """Rows that the verifier could not judge: their ids, and why."""
    groups: list[Group] = field(default_factory=list)
    """The largest groups of near duplicates."""
    suspicious: list[str] = field(default_factory=list)
    """The first of the kept rows that resemble a suite's row."""
    suspicious_rows: int = 0

    @property
    def undecided_ids(self) -> set[str]:
        return {row_id for row_id, _ in self.undecided.values()}

    def batches(self, chosen: NDArray[np.bool_]) -> Iterator[list[Row]]:
        """Yield the chosen rows in their order, in batches."""
        for first, rows in self.rows.batches():
            some = [row for row, wanted in zip(rows, chosen[first : first + len(rows)], strict=True) if wanted]
            if some:
                yield some


def check(
    found: Iterable[Found], checks: Checks, spec: DatasetSpec, suite: SuiteIndex, ledger: Ledger, work: Path, told: Told
) -> Checked:
    """Pass rows through all checks but the length; `work` is a folder for what does not fit into memory.

    Raises DatasetInvalidError for more rows than a run may have.
    """
    first = _FirstPass(checks, spec, suite, work)
    with first.rows:
        for chunk in _chunked(found, ledger):
            first.add(checks.passed(chunk, ledger))
            told(ledger.read)
    return first.together(ledger)


def _chunked(found: Iterable[Found], ledger: Ledger) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for row_id, row in found:
        ledger.read += 1
        if ledger.read > MAX_ROWS:
            raise DatasetInvalidError(f"spec.dataset.sources: more than {MAX_ROWS} rows")
        if isinstance(row, str):
            ledger.drop(names.INVALID_ROW, f"{row_id}: {row}")
            continue
        chunk.append(row)
        size += len(row.instruction) + len(row.input) + len(row.response)
        if len(chunk) == CHUNK or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    yield chunk


class _FirstPass:
    """Collects what the second pass needs of each row."""

    def __init__(self, checks: Checks, spec: DatasetSpec, suite: SuiteIndex, work: Path) -> None:
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
        self._matches: dict[int, Match] = {}

    def add(self, passed: list[Passed]) -> None:
        """Take a batch of rows."""
        first = len(self._ids)
        prompts = [normal_prompt(p.row.instruction, p.row.input) for p in passed]
        prompt_keys, program_keys = [digest(text) for text in prompts], [digest(p.program) for p in passed]
        of_prompt, of_program = shingled(prompts), shingled([p.program for p in passed])
        matches = self._suite.matches(prompt_keys, program_keys, of_prompt, of_program, SUSPICIOUS)
        both = union(of_prompt, of_program)
        self._sink.write(both.values.tobytes())
        self._sizes.extend(both.sizes.tolist())
        self._prompts.extend(prompt_keys)
        self._programs.extend(program_keys)
        self._ids.extend(p.row.id for p in passed)
        self._types.extend(self._known_types.setdefault(p.types, p.types) for p in passed)
        self._undecided |= {first + i: (p.row.id, p.undecided) for i, p in enumerate(passed) if p.undecided is not None}
        self._matches |= {first + i: match for i, match in enumerate(matches) if match is not None}
        self.rows.append([p.row for p in passed])

    def together(self, ledger: Ledger) -> Checked:
        """Hold the rows against each other and the suites."""
        self._sink.close()
        spec = self._spec
        prompts, programs = (np.frombuffer(keys, np.uint64) for keys in (self._prompts, self._programs))
        kept = np.ones(len(self._ids), bool)
        if spec.deduplicate.exact is not OnFinding.OFF:
            self._drop_equal(kept, prompts, programs, ledger)
        pairs, groups = self._near(kept, ledger)
        suspicious = self._in_suites(kept, ledger)
        return Checked(
            self.rows, kept, clusters_of(len(kept), pairs, (prompts, programs)), prompts, self._types, self._undecided,
            groups, suspicious[:MAX_EXAMPLES], len(suspicious),
        )  # fmt: skip

    def _drop_equal(
        self, kept: NDArray[np.bool_], prompts: NDArray[np.uint64], programs: NDArray[np.uint64], ledger: Ledger
    ) -> None:
        both = np.column_stack([prompts, programs])
        _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
        earliest = first[which.ravel()]
        for row in np.flatnonzero(earliest != np.arange(len(kept))).tolist():
            kept[row] = False
            ledger.drop(names.DUPLICATE, f"{self._ids[row]}: prompt and program of {self._ids[earliest[row]]}")

    def _near(self, kept: NDArray[np.bool_], ledger: Ledger) -> tuple[list[tuple[int, int]], list[Group]]:
        """Drop near duplicates where the spec says so; near pairs are found in any case, for the split."""
        numbers = np.flatnonzero(kept)
        rows = self._sets(numbers)
        near = near_rows(rows, self._spec.deduplicate.threshold_percent / 100)
        groups: dict[int, list[int]] = {}
        if self._spec.deduplicate.near is not OnFinding.OFF:
            for row, (like, similarity) in sorted(near.dropped.items()):
                groups.setdefault(like, []).append(row)
                kept[numbers[row]] = False
                ids = self._ids[numbers[row]], self._ids[numbers[like]]
                ledger.drop(names.NEAR_DUPLICATE, f"{ids[0]}: near {ids[1]} (similarity {similarity:.2f})")
        largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:MAX_EXAMPLES]
        named = [
            Group(self._ids[numbers[like]], [self._ids[numbers[row]] for row in rows[:MAX_EXAMPLES]], len(rows) + 1)
            for like, rows in largest
        ]
        return [(int(numbers[one]), int(numbers[other])) for one, other in near.pairs], named

    def _sets(self, numbers: NDArray[np.int64]) -> Sets:
        offsets = np.concatenate([[0], np.cumsum(np.frombuffer(self._sizes, np.int64))])
        if not offsets[-1]:
            return Sets(np.empty(0, np.uint32), np.zeros(len(numbers) + 1, np.int64))
        everything = Sets(np.memmap(self._shingles, np.uint32, "r"), offsets)
        return everything if len(numbers) == len(everything) else everything.chosen(numbers)

    def _in_suites(self, kept: NDArray[np.bool_], ledger: Ledger) -> list[str]:
        """Drop what is in a suite; return the kept rows that resemble one."""
        suspicious = []
        asked = self._spec.decontaminate
        for row, match in self._matches.items():
            if not kept[row]:
                continue
            near = f"near that of suite row {match.id!r} (similarity {match.similarity:.2f})"
            told = f"{self._ids[row]}: its {match.what} is {f'that of suite row {match.id!r}' if match.exact else near}"
            if asked.suites is not OnFinding.OFF and (match.exact or match.similarity >= asked.threshold_percent / 100):
                kept[row] = False
                ledger.drop(names.IN_SUITE, told)
            else:
                suspicious.append(shortened(told, names.MAX_EXAMPLE))
        return suspicious
