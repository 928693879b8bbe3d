"""Reads IaC-Eval's CSV: each row has a program, and the Rego policy for its plan."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from loraform_api.verification import Program

REGO_COLUMN = "Rego intent"
MAX_FIELD = 1_000_000
"""Most characters of a field; the csv module's default is smaller than some programs."""


class SuiteError(ValueError):
    """A suite cannot be read; the message names file, row and column, and says what is allowed."""


def read_csv(text: str, name: str, field: str) -> list[Program]:
    """Return the programs of a CSV; `row-1` is the first row after the header. Raises SuiteError.

    `field` is the column of the program, usually `Reference output`; errors quote `name`.
    """
    return [
        Program(id=f"row-{number}", text=_newlines(row[field]), rego=_newlines(row[REGO_COLUMN]) or None)
        for number, row in enumerate(_rows(text.removeprefix("\ufeff"), name, field), start=1)
    ]


def _rows(text: str, name: str, field: str) -> Iterator[dict[str, str]]:
    limit, number = csv.field_size_limit(MAX_FIELD), 0
    try:
        # `newline=""` leaves the newlines inside quotes to the csv module.
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = reader.fieldnames or ()
        absent = [column for column in (REGO_COLUMN, field) if column not in columns]
        if absent:
            existing = ", ".join(columns) or "none"
            raise SuiteError(f"{name}, column {absent[0]!r}: the header has no such column; it has: {existing}")
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise SuiteError(f"{name}, row {number}: a row must have {len(columns)} columns like the header")
            yield row
    except csv.Error as error:
        raise SuiteError(f"{name}, row {number + 1}: not valid CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n")
