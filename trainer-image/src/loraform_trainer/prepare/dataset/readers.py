"""From a file to its rows, one at a time: JSON lines, a JSON array, CSV or Parquet, all of them hostile.

A row that cannot be read is said so and the next one follows. Where the file itself is broken nothing after that place
can be trusted, and reading ends with an error that names the row.
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
from loraform_trainer.runtime.errors import DatasetInvalidError
from loraform_trainer.runtime.rows import MAX_LINE_BYTES

CHUNK = 1 << 16
PARQUET_ROWS = 256
MAX_ROW_GROUP_BYTES = 2 << 30
"""Unpacked bytes of a Parquet row group; the usual ones have 128 MiB to 1 GiB."""
ENDINGS = {".jsonl": FileFormat.JSONL, ".json": FileFormat.JSON, ".csv": FileFormat.CSV, ".parquet": FileFormat.PARQUET}
_SPACE = " \t\r\n"

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    reason: str


def format_of(name: str, given: FileFormat | None) -> FileFormat:
    """Return how a file is written: as its source says, else by the ending of its name."""
    return given or ENDINGS.get(Path(name).suffix.lower(), FileFormat.JSONL)


def read(path: Path, file_format: FileFormat, columns: frozenset[str]) -> Iterator[tuple[int, Record | BadRow]]:
    """Yield each row with its number, from 1; for JSONL its line, of which blank ones are passed over.

    `columns` are those that may be read; others need not be unpacked. Raises DatasetInvalidError for a broken file.
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
        value = from_json(line, allow_inf_nan=False)  # knows a largest depth, which `json` does not
    except ValueError as error:
        return BadRow(f"not JSON: {error}")
    return value if isinstance(value, dict) else BadRow(f"must be a JSON object, is {_kind(value)}")


def _kind(value: object) -> str:
    kinds = ((bool, "a bool"), (str, "a text"), (int | float, "a number"), (list, "a list"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "null")


def _json_array(path: Path) -> Iterator[tuple[int, Record | BadRow]]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for value in _elements(iter(lambda: stream.read(CHUNK), "")):
                number += 1
                yield number, value if isinstance(value, dict) else BadRow(f"must be an object, is {_kind(value)}")
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DatasetInvalidError(f"row {number + 1}: the file is not a JSON array: {reason}") from error


def _elements(chunks: Iterator[str]) -> Iterator[Any]:
    """Yield the elements of one JSON array; raises ValueError. No more than one element is held."""
    decoder = json.JSONDecoder()
    text, place, end = "", 0, False
    opened = separated = False
    while True:
        while place < len(text) and text[place] in _SPACE:
            place += 1
        if place < len(text) and not opened:
            if text[place] != "[":
                raise ValueError("it must begin with `[`")
            opened = separated = True
            place += 1
            continue
        if place < len(text) and text[place] == "]":
            if any(rest.strip(_SPACE) for rest in chain([text[place + 1 :]], chunks)):
                raise ValueError("text follows the array")
            return
        if place < len(text) and not separated:
            if text[place] != ",":
                raise ValueError("a comma is missing")
            separated = True
            place += 1
            continue
        try:
            value, after = decoder.raw_decode(text, place)
            if after == len(text) and not end:
                raise ValueError("a number may go on")
        except ValueError as error:
            if end:
                raise ValueError("it ends too early" if place >= len(text) else str(error)) from error
            if len(text) - place > MAX_LINE_BYTES:
                raise ValueError(f"longer than {MAX_LINE_BYTES} characters, or broken: {error}") from error
            more = next(chunks, "")
            text, place, end = text[place:] + more, 0, not more
            continue
        yield value
        place, separated = after, False


def _csv(path: Path) -> Iterator[tuple[int, Record | BadRow]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for record in csv.DictReader(stream, strict=True, restkey="", restval=None):
                number += 1
                over = record.pop("", None)
                yield number, BadRow(f"{len(over)} more fields than the header has") if over else record
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
