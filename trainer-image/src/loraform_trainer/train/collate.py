"""Collates rows into packs: documents in one sequence without padding, with labels for response tokens only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from loraform_trainer.train.token_rows import Ids, TokenRows


@dataclass(frozen=True, slots=True)
class Pack:
    """One micro-batch: T tokens of D documents, n of them with a label."""

    input_ids: torch.Tensor
    """(1, T), int64."""
    position_ids: torch.Tensor
    """(1, T), int64: counted from 0 in each document."""
    boundaries: torch.Tensor
    """(D + 1,), int32: the start of each document, then T."""
    longest: int
    """Tokens of the longest document."""
    label_positions: torch.Tensor
    """(n,), int64: positions whose next token is a label: a token of a response, end of text included."""
    labels: torch.Tensor
    """(n,), int64: the label tokens."""

    @property
    def tokens(self) -> int:
        return self.input_ids.shape[1]

    def inputs(self) -> dict[str, Any]:
        """Return the keyword arguments of a model's forward pass."""
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
        """Return the pack on `device`; the copy is asynchronous if the memory is pinned."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Pack:
        """Return the pack in pinned memory; torch's DataLoader calls this."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> Pack:
        tensors = (self.input_ids, self.position_ids, self.boundaries, self.label_positions, self.labels)
        ids, positions, boundaries, label_positions, labels = map(transform, tensors)
        return Pack(ids, positions, boundaries, self.longest, label_positions, labels)


def collate(rows: TokenRows, numbers: Iterable[int]) -> Pack:
    """Return the rows of these numbers as one pack."""
    return _pack([rows.ids(number) for number in numbers])


def filler(rows: TokenRows) -> Pack:
    """Return a pack without labels, for a process with fewer packs in a step than the others."""
    pack = collate(rows, [int(np.argmin(rows.lengths))])
    return replace(pack, label_positions=pack.label_positions[:0], labels=pack.labels[:0])


def of_documents(documents: Sequence[Sequence[int]]) -> Pack:
    """Return documents as one pack in which every token but the first of each document is a label."""
    return _pack([(np.asarray(d[:1], np.int32), np.asarray(d[1:], np.int32)) for d in documents])


def _pack(documents: Sequence[tuple[Ids, Ids]]) -> Pack:
    lengths = np.asarray([len(prompt) + len(response) for prompt, response in documents], np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    label_positions = [
        np.arange(start + max(len(prompt), 1) - 1, end - 1)  # a document's first token has no predecessor
        for start, end, (prompt, _) in zip(starts, ends, documents, strict=True)
    ]
    before_labels = np.concatenate(label_positions)
    ids = np.concatenate([part for document in documents for part in document]).astype(np.int64)
    positions = np.arange(len(ids)) - np.repeat(starts, lengths)
    return Pack(
        input_ids=_tensor(ids)[None],
        position_ids=_tensor(positions)[None],
        boundaries=_tensor(np.concatenate(([0], ends)).astype(np.int32)),
        longest=int(lengths.max()),
        label_positions=_tensor(before_labels),
        labels=_tensor(ids[before_labels + 1]),
    )


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(values)
