"""Tokenised rows for training: masked labels, padding on the right, batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from typing_extensions import override

from loraform_trainer.files import read_jsonl

IGNORED = -100
"""The label that the loss skips: the prompt and the padding."""


@dataclass(frozen=True)
class TokenRow:
    id: str
    prompt_ids: list[int]
    response_ids: list[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


def read(path: Path) -> list[TokenRow]:
    """Read the rows that `prepare` wrote."""
    return [TokenRow(**row) for row in read_jsonl(path)]


class Rows(Dataset[dict[str, list[int]]]):
    """Rows as the model wants them: the loss sees the response and its end of text, never the prompt."""

    def __init__(self, rows: Sequence[TokenRow]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @override
    def __getitem__(self, index: int) -> dict[str, list[int]]:
        row = self._rows[index]
        return {
            "input_ids": [*row.prompt_ids, *row.response_ids],
            "labels": [*([IGNORED] * len(row.prompt_ids)), *row.response_ids],
        }


@dataclass(frozen=True)
class PadRight:
    """Collator: pads a batch to its longest row."""

    pad_id: int

    def __call__(self, items: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(item["input_ids"]) for item in items)

        def padded(values: list[int], fill: int) -> list[int]:
            return values + [fill] * (width - len(values))

        return {
            "input_ids": torch.tensor([padded(item["input_ids"], self.pad_id) for item in items]),
            "labels": torch.tensor([padded(item["labels"], IGNORED) for item in items]),
            "attention_mask": torch.tensor([padded([1] * len(item["input_ids"]), 0) for item in items]),
        }


class LengthGrouped(Sampler[int]):
    """Rows of similar length together, in an order that seed and epoch alone decide: a resume finds it again.

    transformers' own sampler draws from the global generator, whose state at the epoch's start a resume has lost.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; accelerate's loader calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    @override
    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        indices: list[Any] = get_length_grouped_indices(  # type: ignore[no-untyped-call]
            self._lengths, self._batch_size, generator=generator
        )
        return iter(indices)
