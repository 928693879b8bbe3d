"""What the evaluation suites ask, as an index: a training row that is one of theirs, or near one, gives it away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loraform_trainer.prepare.dataset.canonical import digest
from loraform_trainer.prepare.dataset.shingles import Sets, shingled

ROWS_AT_ONCE = 64
"""Bounds the table of common shingles: so many rows by all suite rows."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A suite row: its id, its prompt's normal form, and that of its reference, empty where it has none."""

    id: str
    prompt: bytes
    program: bytes = b""


@dataclass(frozen=True, slots=True)
class Match:
    """The suite row that a training row is closest to."""

    id: str
    what: str
    """`prompt` or `program`."""
    similarity: float
    exact: bool


class _Postings:
    """Texts of suite rows, found by their shingles."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        sets = shingled(texts)
        owners = np.repeat(np.arange(len(sets)), sets.sizes)
        order = np.argsort(sets.values, kind="stable")
        self._values, self._owners, self._sizes = sets.values[order], owners[order], sets.sizes

    def closest(self, rows: Sets) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return, for each row, the number of the suite's text with the highest Jaccard similarity, and that."""
        numbers, similarities = np.zeros(len(rows), np.int64), np.zeros(len(rows))
        if not len(self._values):
            return numbers, similarities
        for start in range(0, len(rows), ROWS_AT_ONCE):
            end = min(start + ROWS_AT_ONCE, len(rows))
            both = self._common(rows, start, end)
            total = rows.sizes[start:end, None] + self._sizes[None, :] - both
            similar = both / np.maximum(total, 1)
            numbers[start:end] = similar.argmax(axis=1)
            similarities[start:end] = similar.max(axis=1)
        return numbers, similarities

    def _common(self, rows: Sets, start: int, end: int) -> NDArray[np.int64]:
        """Return how many shingles each row shares with each of the suite's texts."""
        values = rows.values[rows.offsets[start] : rows.offsets[end]]
        of_row = np.repeat(np.arange(end - start), rows.sizes[start:end])
        first = np.searchsorted(self._values, values, side="left")
        counts = np.searchsorted(self._values, values, side="right") - first
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        of_text = self._owners[np.repeat(first, counts) + steps]
        cells = np.repeat(of_row, counts) * len(self._sizes) + of_text
        return np.bincount(cells, minlength=(end - start) * len(self._sizes)).reshape(end - start, len(self._sizes))


class SuiteIndex:
    """All suite rows."""

    def __init__(self, rows: Sequence[HeldOut]) -> None:
        self._ids = [row.id for row in rows]
        self._prompts = {digest(row.prompt): row.id for row in reversed(rows)}
        self._programs = {digest(row.program): row.id for row in reversed(rows) if row.program}
        self._by_prompt = _Postings([row.prompt for row in rows])
        self._by_program = _Postings([row.program for row in rows])

    def matches(
        self, prompt_keys: Sequence[int], program_keys: Sequence[int], prompts: Sets, programs: Sets, least: float
    ) -> list[Match | None]:
        """Return, for each training row, the suite row that it equals or is near by at least `least`."""
        found: list[Match | None] = [None] * len(prompts)
        for what, index, rows in (("prompt", self._by_prompt, prompts), ("program", self._by_program, programs)):
            for i, (number, similarity) in enumerate(zip(*index.closest(rows), strict=True)):
                known = found[i]
                if similarity >= least and (known is None or similarity > known.similarity):
                    found[i] = Match(self._ids[number], what, float(similarity), exact=False)
        for what, known_ids, keys in (
            ("program", self._programs, program_keys),
            ("prompt", self._prompts, prompt_keys),
        ):
            for i, key in enumerate(keys):
                if key in known_ids:
                    found[i] = Match(known_ids[key], what, 1.0, exact=True)
        return found
