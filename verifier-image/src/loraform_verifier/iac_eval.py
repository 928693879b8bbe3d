"""Reads IaC-Eval's rows: its own CSV, and JSON lines with the same facts, into one form.

All fields are text to hand on; nothing of a row is opened, run or judged here.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CSV_COLUMNS = ("Resource", "Prompt", "Rego intent", "Difficulty", "Reference output", "Intent")
PROGRAM_COLUMN = "Reference output"
DIFFICULTIES = range(1, 7)
MAX_FIELD = 1_000_000
"""Characters of one field of a CSV; the csv module's own bound is smaller than some programs."""


class SuiteError(ValueError):
    """A suite cannot be read; the message names the file, the row, the column and what is allowed."""


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One row: what is asked, and what judges the answer."""

    id: str
    instruction: str
    input: str = ""
    program: str | None = None
    """The program to judge, or the human reference."""
    rego: str | None = None
    """The policy that the plan must satisfy. Held out: never shown to a model."""
    difficulty: int | None = None
    cluster: str | None = None
    """Rows of one cluster are near duplicates of each other."""


def read_rows(text: str, name: str, field: str) -> list[SuiteRow]:
    """Read a suite from a file's text.

    `name` tells the format by its ending (`.csv` or `.jsonl`) and stands in errors. `field` is the column of the
    program: of a CSV usually `Reference output`, of JSON lines `response` or `reference`. Raises SuiteError.
    """
    text = text.removeprefix("\ufeff")
    if name.endswith(".csv"):
        return _unique([_from_csv(row, field, place) for place, row in _csv_rows(text, name, field)])
    if name.endswith(".jsonl"):
        return _unique([_from_json(row, field, place) for place, row in _json_rows(text, name)])
    raise SuiteError(f"{name}: the name must end in .csv or .jsonl")


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    row: int

    def error(self, column: str, wrong: str) -> SuiteError:
        return SuiteError(f"{self.name}, row {self.row}, column {column!r}: {wrong}")


def _csv_rows(text: str, name: str, field: str) -> Iterator[tuple[_Place, dict[str, str]]]:
    limit, number = csv.field_size_limit(MAX_FIELD), 0
    try:
        # `newline=""` leaves the newlines inside quotes to the csv module.
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        wanted = dict.fromkeys([*CSV_COLUMNS[1:3], field])
        absent = [column for column in wanted if column not in (reader.fieldnames or ())]
        if absent:
            found = ", ".join(reader.fieldnames or ()) or "none"
            raise _Place(name, 0).error(absent[0], f"the header has no such column; it has: {found}")
        for number, row in enumerate(reader, start=1):
            place = _Place(name, number)
            if None in row or None in row.values():
                raise place.error("all", f"a row must have {len(reader.fieldnames or ())} columns, as the header has")
            yield place, row
    except csv.Error as error:
        raise SuiteError(f"{name}, row {number + 1}: this is no CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _json_rows(text: str, name: str) -> Iterator[tuple[_Place, dict[str, Any]]]:
    # A newline alone ends a row: U+2028 and its like may stand inside a program.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SuiteError(f"{name}, row {number}: this is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise SuiteError(f"{name}, row {number}: a row must be a JSON object")
        yield _Place(name, number), row


def _from_csv(row: Mapping[str, str], field: str, place: _Place) -> SuiteRow:
    return SuiteRow(
        id=f"row-{place.row}",
        instruction=_text(row, "Prompt", place),
        program=_newlines(row[field]) or None,
        rego=_newlines(row["Rego intent"]) or None,
        difficulty=_difficulty(row.get("Difficulty") or None, "Difficulty", place),
    )


def _from_json(row: Mapping[str, Any], field: str, place: _Place) -> SuiteRow:
    if field not in row:
        raise place.error(field, f"it is missing; the row has: {', '.join(sorted(row))}")
    cluster = row.get("cluster")
    if isinstance(cluster, bool) or not isinstance(cluster, str | int | None):
        raise place.error("cluster", "it must be a string or a number")
    return SuiteRow(
        id=_text(row, "id", place) if "id" in row else f"row-{place.row}",
        instruction=_text(row, "instruction", place),
        input=_optional(row, "input", place) or "",
        program=_optional(row, field, place),
        rego=_optional(row, "rego", place),
        difficulty=_difficulty(row.get("difficulty"), "difficulty", place),
        cluster=None if cluster is None else str(cluster),
    )


def _text(row: Mapping[str, Any], column: str, place: _Place) -> str:
    found = _optional(row, column, place)
    if not found or not found.strip():
        raise place.error(column, "it must be a string that is not empty")
    return _newlines(found)


def _optional(row: Mapping[str, Any], column: str, place: _Place) -> str | None:
    found = row.get(column)
    if found is not None and not isinstance(found, str):
        raise place.error(column, f"it must be a string; it is {json.dumps(found)[:60]}")
    return found or None


def _difficulty(found: object, column: str, place: _Place) -> int | None:
    if found is None:
        return None
    number = int(found) if isinstance(found, str) and found.strip().isdecimal() else found
    if isinstance(number, bool) or not isinstance(number, int) or number not in DIFFICULTIES:
        allowed = f"a whole number from {DIFFICULTIES[0]} to {DIFFICULTIES[-1]}"
        raise place.error(column, f"it must be {allowed}; it is {str(found)[:60]!r}")
    return number


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n")


def _unique(rows: list[SuiteRow]) -> list[SuiteRow]:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise SuiteError(f"the id {row.id!r} stands twice; each row needs its own")
        seen.add(row.id)
    return rows
