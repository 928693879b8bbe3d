"""Reads the training rows of a source's file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loraform_api.dataset import Columns, RowFormat
from loraform_api.sources import FileFormat
from loraform_trainer.prepare.dataset.formats import UnusableError, columns_read, row_of
from loraform_trainer.prepare.dataset.readers import BadRow, Record, format_of, read
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.runtime.errors import DatasetInvalidError

SourceRow = tuple[str, TrainingRow | str]
"""A row's id, and the row, or the reason why it is invalid."""


def read_source_rows(
    path: Path, name: str, row_format: RowFormat, columns: Columns, file_format: FileFormat | None = None
) -> Iterator[SourceRow]:
    """Yield the rows of one file; `name` is the name of its source. Raises DatasetInvalidError for a damaged file."""
    try:
        for number, record in read(path, format_of(path.name, file_format), columns_read(row_format, columns)):
            row_id = f"{name}:{number}"
            if isinstance(record, BadRow):
                yield row_id, record.reason
            else:
                yield row_id, _row_or_reason(record, row_format, columns, row_id)
    except DatasetInvalidError as error:
        raise DatasetInvalidError(f"source {name!r} of dataset.sources, {error.message}") from error


def _row_or_reason(record: Record, row_format: RowFormat, columns: Columns, row_id: str) -> TrainingRow | str:
    try:
        return row_of(record, row_format, columns, row_id)
    except UnusableError as error:
        return str(error)
