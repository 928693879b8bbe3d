"""Stores rows in a temporary file between two passes, so that memory does not grow with their text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.token_files import string_array

_COLUMNS = ("id", "instruction", "input", "response")
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])


class Spool:
    """A file of rows: written once, then read in batches any number of times. A context manager that ends writing."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, _SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def append(self, rows: Sequence[TrainingRow]) -> None:
        """Write a batch of rows."""
        columns = [string_array([getattr(row, name) for row in rows]) for name in _COLUMNS]
        self._writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))

    def finish(self) -> None:
        """End writing; afterwards the rows can be read."""
        if not self._sink.closed:
            self._writer.close()
            self._sink.close()

    def batches(self) -> Iterator[tuple[int, list[TrainingRow]]]:
        """Yield the batches in their order, each with the number of its first row, which starts at 0."""
        first = 0
        with pa.memory_map(str(self._path)) as source, pa.ipc.open_file(source) as reader:
            for index in range(reader.num_record_batches):
                columns = [column.to_pylist() for column in reader.get_batch(index).columns]
                rows = [TrainingRow(*cells) for cells in zip(*columns, strict=True)]
                yield first, rows
                first += len(rows)
