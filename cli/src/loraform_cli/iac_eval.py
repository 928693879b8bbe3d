"""Reads IaC-Eval's own CSV: a program in each row, and the Rego that judges its plan.

All fields are text to hand on; nothing of a row is opened, run or judged here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from loraform_api.verification import Program

REGO_COLUMN = "Rego intent"
MAX_FIELD = 1_000_000
"""Characters of one field; the csv module's own bound is smaller than some programs."""


class SuiteError(ValueError):
    """A suite cannot be read; the message names the file, the row, the column and what is allowed."""


def read_csv(text: str, name: str, field: str) -> list[Program]:
    """Read the rows of a CSV; `row-1` is the first after the header.

    `field` is the column of the program, usually `Reference output`; `name` stands in errors. Raises SuiteError.
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
            found = ", ".join(columns) or "none"
            raise SuiteError(f"{name}, column {absent[0]!r}: the header has no such column; it has: {found}")
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise SuiteError(f"{name}, row {number}: a row must have {len(columns)} columns, as the header has")
            yield row
    except csv.Error as error:
        raise SuiteError(f"{name}, row {number + 1}: this is no CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n")
