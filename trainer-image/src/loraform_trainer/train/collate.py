"""Turns rows into packs: one sequence of documents without padding, and the labels of the responses alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from loraform_trainer.train.token_rows import Ids, Rows


@dataclass(frozen=True, slots=True)
class Pack:
    """One micro-batch. T tokens of D documents, of which n have a label."""

    input_ids: torch.Tensor
    """(1, T), int64."""
    position_ids: torch.Tensor
    """(1, T), int64: from 0 in each document."""
    boundaries: torch.Tensor
    """(D + 1,), int32: where documents begin, and T."""
    longest: int
    """Tokens of the longest document."""
    at: torch.Tensor
    """(n,), int64: positions whose next token is learnt: those before a response's tokens, its end of text included."""
    labels: torch.Tensor
    """(n,), int64: the tokens that are learnt."""

    @property
    def tokens(self) -> int:
        return self.input_ids.shape[1]

    def inputs(self) -> dict[str, Any]:
        """Return the arguments of a model's forward pass."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "cu_seq_lens_q": self.boundaries,
            "cu_seq_lens_k": self.boundaries,
            "max_length_q": self.longest,
            "max_length_k": self.longest,
            "use_cache": False,
        }

    def to(self, device: torch.device) -> Pack:
        """Return the pack on `device`, copied without waiting where its memory is pinned."""
        tensors = (self.input_ids, self.position_ids, self.boundaries, self.at, self.labels)
        ids, positions, boundaries, at, labels = (t.to(device, non_blocking=True) for t in tensors)
        return Pack(ids, positions, boundaries, self.longest, at, labels)

    def pin_memory(self) -> Pack:
        """Return the pack in pinned memory; torch's loader calls this."""
        tensors = (self.input_ids, self.position_ids, self.boundaries, self.at, self.labels)
        ids, positions, boundaries, at, labels = (t.pin_memory() for t in tensors)
        return Pack(ids, positions, boundaries, self.longest, at, labels)


def collate(rows: Rows, numbers: Iterable[int]) -> Pack:
    """Return these rows as one pack."""
    return _pack([rows.ids(number) for number in numbers])


def filler(rows: Rows) -> Pack:
    """Return a pack without labels, for a process that has none left in a step."""
    pack = collate(rows, [int(np.argmin(rows.lengths))])
    return Pack(pack.input_ids, pack.position_ids, pack.boundaries, pack.longest, pack.at[:0], pack.labels[:0])


def of_documents(documents: Sequence[Sequence[int]]) -> Pack:
    """Return documents as one pack that learns all but each first token."""
    return _pack([(np.asarray(d[:1], np.int32), np.asarray(d[1:], np.int32)) for d in documents])


def _pack(documents: Sequence[tuple[Ids, Ids]]) -> Pack:
    lengths = np.asarray([len(prompt) + len(response) for prompt, response in documents], np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    learnt = [
        np.arange(start + max(len(prompt), 1) - 1, end - 1)  # nothing stands before a document's first token
        for start, end, (prompt, _) in zip(starts, ends, documents, strict=True)
    ]
    at = np.concatenate(learnt)
    ids = np.concatenate([part for document in documents for part in document]).astype(np.int64)
    positions = np.arange(len(ids)) - np.repeat(starts, lengths)
    return Pack(
        input_ids=_tensor(ids)[None],
        position_ids=_tensor(positions)[None],
        boundaries=_tensor(np.concatenate(([0], ends)).astype(np.int32)),
        longest=int(lengths.max()),
        at=_tensor(at),
        labels=_tensor(ids[at + 1]),
    )


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(values)
