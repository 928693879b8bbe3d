"""Tokenised rows that stage prepare wrote, memory-mapped from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from typing_extensions import override

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class TokenRow:
    id: str
    prompt_ids: list[int]
    response_ids: list[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


class _Lists:
    """One list column; a row of it is a view into the mapped file."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self.lengths: NDArray[np.int64] = pc.list_value_length(column).to_numpy().astype(np.int64)
        self._chunks = [(chunk.offsets.to_numpy(), chunk.values.to_numpy(zero_copy_only=True)) for chunk in chunks]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])

    def __getitem__(self, row: int) -> Ids:
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        offsets, values = self._chunks[chunk]
        index = row - self._starts[chunk]
        ids: Ids = values[offsets[index] : offsets[index + 1]]
        return ids


class TokenRows(Sequence[TokenRow]):
    """The rows, by number, of a table with the columns `id`, `prompt_ids` and `response_ids`."""

    def __init__(self, table: pa.Table) -> None:
        self._ids = table.column("id")
        self._prompts, self._responses = _Lists(table.column("prompt_ids")), _Lists(table.column("response_ids"))

    @property
    def prompt_lengths(self) -> NDArray[np.int64]:
        return self._prompts.lengths

    @property
    def response_lengths(self) -> NDArray[np.int64]:
        return self._responses.lengths

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, prompt and response together."""
        return self._prompts.lengths + self._responses.lengths

    def ids(self, row: int) -> tuple[Ids, Ids]:
        """Return the token ids of a row's prompt and response, without a copy."""
        return self._prompts[row], self._responses[row]

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> TokenRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenRow]: ...
    @override
    def __getitem__(self, index: int | slice) -> TokenRow | list[TokenRow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        prompt, response = self.ids(index)
        return TokenRow(self._ids[index].as_py(), prompt.tolist(), response.tolist())


def read(path: Path) -> TokenRows:
    """Memory-map the rows that stage prepare wrote; the table keeps the mapping open."""
    return TokenRows(pa.ipc.open_stream(pa.memory_map(str(path))).read_all())
