"""An index of the evaluation suites, to find training rows that equal or resemble a suite row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loraform_trainer.prepare.dataset.canonical import digest
from loraform_trainer.prepare.dataset.shingles import ShingleSets, shingle_sets

ROWS_AT_ONCE = 64
"""Training rows that are compared with all suite rows at once; bounds the memory of their table."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Id and normal forms of a suite row; `program` is that of its reference, empty without one."""

    id: str
    prompt: bytes
    program: bytes = b""


@dataclass(frozen=True, slots=True)
class SuiteMatch:
    """The suite row that is most similar to a training row."""

    id: str
    part: str
    """The part that is similar: `prompt` or `program`."""
    similarity: float
    """Jaccard similarity, from 0 to 1."""
    exact: bool
    """Whether the normal forms are equal."""


class _Postings:
    """An inverted index of texts by their shingles."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        sets = shingle_sets(texts)
        owners = np.repeat(np.arange(len(sets)), sets.sizes)
        order = np.argsort(sets.values, kind="stable")
        self._values, self._owners, self._sizes = sets.values[order], owners[order], sets.sizes

    def closest(self, rows: ShingleSets) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return, for each row, the index of the text with the highest Jaccard similarity, and the similarity."""
        numbers, similarities = np.zeros(len(rows), np.int64), np.zeros(len(rows))
        if not len(self._values):
            return numbers, similarities
        for start in range(0, len(rows), ROWS_AT_ONCE):
            end = min(start + ROWS_AT_ONCE, len(rows))
            common = self._common(rows, start, end)
            union = rows.sizes[start:end, None] + self._sizes[None, :] - common
            jaccard = common / np.maximum(union, 1)
            numbers[start:end] = jaccard.argmax(axis=1)
            similarities[start:end] = jaccard.max(axis=1)
        return numbers, similarities

    def _common(self, rows: ShingleSets, start: int, end: int) -> NDArray[np.int64]:
        """Return how many shingles each row shares with each text of the index."""
        values = rows.values[rows.offsets[start] : rows.offsets[end]]
        of_row = np.repeat(np.arange(end - start), rows.sizes[start:end])
        first = np.searchsorted(self._values, values, side="left")
        counts = np.searchsorted(self._values, values, side="right") - first
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        of_text = self._owners[np.repeat(first, counts) + steps]
        cells = np.repeat(of_row, counts) * len(self._sizes) + of_text
        return np.bincount(cells, minlength=(end - start) * len(self._sizes)).reshape(end - start, len(self._sizes))


class SuiteIndex:
    """Finds the suite row that a training row equals or resembles."""

    def __init__(self, rows: Sequence[HeldOut]) -> None:
        self._ids = [row.id for row in rows]
        self._prompts = {digest(row.prompt): row.id for row in reversed(rows)}
        self._programs = {digest(row.program): row.id for row in reversed(rows) if row.program}
        self._by_prompt = _Postings([row.prompt for row in rows])
        self._by_program = _Postings([row.program for row in rows])

    def matches(
        self,
        prompt_keys: Sequence[int],
        program_keys: Sequence[int],
        prompts: ShingleSets,
        programs: ShingleSets,
        min_similarity: float,
    ) -> list[SuiteMatch | None]:
        """Return, for each training row, the suite row that it equals, or else the most similar one, if any.

        Rows are given by the digests and the shingles of the normal forms of prompt and program.
        """
        matches: list[SuiteMatch | None] = [None] * len(prompts)
        for part, index, rows in (("prompt", self._by_prompt, prompts), ("program", self._by_program, programs)):
            for i, (number, similarity) in enumerate(zip(*index.closest(rows), strict=True)):
                best = matches[i]
                if similarity >= min_similarity and (best is None or similarity > best.similarity):
                    matches[i] = SuiteMatch(self._ids[number], part, float(similarity), exact=False)
        for part, ids_by_key, keys in (
            ("program", self._programs, program_keys),
            ("prompt", self._prompts, prompt_keys),
        ):
            for i, key in enumerate(keys):
                if key in ids_by_key:
                    matches[i] = SuiteMatch(ids_by_key[key], part, 1.0, exact=True)
        return matches
