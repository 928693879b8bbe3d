"""Reads the rows of an untrusted file one at a time: JSON lines, a JSON array, CSV or Parquet.

A row that cannot be read is reported and reading continues. When the file itself is damaged, reading ends with an error
that names the row, because nothing after it can be trusted.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from loraform_api.sources import FileFormat
from loraform_trainer.prepare.dataset.rows import MAX_LINE_BYTES
from loraform_trainer.runtime.errors import DatasetInvalidError

CHUNK = 1 << 16
"""Characters of a JSON array that are read at a time."""
PARQUET_ROWS = 256
"""Rows of a Parquet file that are read at a time."""
MAX_ROW_GROUP_BYTES = 2 << 30
"""Largest uncompressed row group of a Parquet file; usual ones have 128 MiB to 1 GiB."""
FORMAT_BY_SUFFIX = {
    ".jsonl": FileFormat.JSONL,
    ".json": FileFormat.JSON,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
}
_SPACE = " \t\r\n"

Record = Mapping[str, Any]
"""A row as it is in the file: values by column."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, with the reason."""

    reason: str


def format_of(name: str, declared: FileFormat | None) -> FileFormat:
    """Return the format that the source declares, else the one of the file name's suffix, else JSONL."""
    return declared or FORMAT_BY_SUFFIX.get(Path(name).suffix.lower(), FileFormat.JSONL)


def read(path: Path, file_format: FileFormat, columns: frozenset[str]) -> Iterator[tuple[int, Record | BadRow]]:
    """Yield each row with its number, which starts at 1; in JSONL it is the line number, and blank lines are skipped.

    Columns of a Parquet file that are not in `columns` are not read. Raises DatasetInvalidError for a damaged file.
    """
    readers: dict[FileFormat, Callable[[Path], Iterator[tuple[int, Record | BadRow]]]] = {
        FileFormat.JSONL: _json_lines,
        FileFormat.JSON: _json_array,
        FileFormat.CSV: _csv,
        FileFormat.PARQUET: lambda parquet: _parquet(parquet, columns),
    }
    return readers[file_format](path)


def _json_lines(path: Path) -> Iterator[tuple[int, Record | BadRow]]:
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if len(line) > MAX_LINE_BYTES:
                yield number, BadRow(f"longer than {MAX_LINE_BYTES} bytes")
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
            elif line.strip():
                yield number, _object(line)


def _object(line: bytes) -> Record | BadRow:
    try:
        value = from_json(line, allow_inf_nan=False)  # limits the depth, unlike `json`
    except ValueError as error:
        return BadRow(f"not JSON: {error}")
    return value if isinstance(value, dict) else BadRow(f"must be a JSON object, not {_kind(value)}")


def _kind(value: object) -> str:
    kinds = ((bool, "a boolean"), (str, "a string"), (int | float, "a number"), (list, "a list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _json_array(path: Path) -> Iterator[tuple[int, Record | BadRow]]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for value in _elements(iter(lambda: stream.read(CHUNK), "")):
                number += 1
                yield number, value if isinstance(value, dict) else BadRow(f"must be an object, not {_kind(value)}")
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DatasetInvalidError(f"row {number + 1}: the file is not a JSON array: {reason}") from error


def _elements(chunks: Iterator[str]) -> Iterator[Any]:
    """Yield the elements of one JSON array while holding only one; raises ValueError."""
    decoder = json.JSONDecoder()
    text, position, at_end = "", 0, False
    in_array = may_start = False
    while True:
        while position < len(text) and text[position] in _SPACE:
            position += 1
        if position < len(text) and not in_array:
            if text[position] != "[":
                raise ValueError("it must begin with `[`")
            in_array = may_start = True
            position += 1
            continue
        if position < len(text) and text[position] == "]":
            if any(rest.strip(_SPACE) for rest in chain([text[position + 1 :]], chunks)):
                raise ValueError("text follows the array")
            return
        if position < len(text) and not may_start:
            if text[position] != ",":
                raise ValueError("a comma is missing")
            may_start = True
            position += 1
            continue
        try:
            value, after = decoder.raw_decode(text, position)
            if after == len(text) and not at_end:
                raise ValueError("a number may be incomplete")
        except ValueError as error:
            if at_end:
                raise ValueError("it ends too early" if position >= len(text) else str(error)) from error
            if len(text) - position > MAX_LINE_BYTES:
                raise ValueError(f"longer than {MAX_LINE_BYTES} characters, or damaged: {error}") from error
            chunk = next(chunks, "")
            text, position, at_end = text[position:] + chunk, 0, not chunk
            continue
        yield value
        position, may_start = after, False


def _csv(path: Path) -> Iterator[tuple[int, Record | BadRow]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for record in csv.DictReader(stream, strict=True, restkey="", restval=None):
                number += 1
                surplus = record.pop("", None)
                yield number, BadRow(f"{len(surplus)} more fields than the header has") if surplus else record
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetInvalidError(f"row {number + 1}: the file is not CSV: {error}") from error


def _parquet(path: Path, columns: frozenset[str]) -> Iterator[tuple[int, Record | BadRow]]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in columns]
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).total_byte_size
                if size > MAX_ROW_GROUP_BYTES:
                    raise DatasetInvalidError(f"row group {group} has {size} bytes, more than {MAX_ROW_GROUP_BYTES}")
            for batch in file.iter_batches(PARQUET_ROWS, columns=names, use_threads=False):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetInvalidError(f"row {number + 1}: the file is not Parquet: {error}") from error
