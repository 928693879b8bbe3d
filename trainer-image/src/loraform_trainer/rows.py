"""Rows of data sets and suites: strict shapes, hostile input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from loraform_api.verification import Asked

MAX_LINE_BYTES = 1 << 20

Text = Annotated[str, Field(max_length=200_000)]
Label = int | Annotated[str, Field(max_length=100)]


class _Line(BaseModel):
    """A line of a JSONL file; columns that we do not know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    instruction: Text
    input: Text | None = None

    @field_validator("instruction", "response", check_fields=False)
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value


class TrainLine(_Line):
    response: Text


class SuiteLine(_Line):
    id: Annotated[str, Field(min_length=1, max_length=150)]
    asked: Asked | None = None
    rego: Text | None = None
    """A policy that Intent asks of the plan."""
    difficulty: Label | None = None
    cluster: Label | None = None
    """Rows of a suite with the same cluster vary one thing."""
    reference: Text | None = None
    """A right answer. Never trained on and never shown to a model: read for its resource types alone."""


@dataclass(frozen=True)
class Row:
    """One training row on its way through the filters."""

    id: str
    """`<source>:<line number>`."""
    instruction: str
    input: str
    response: str

    @property
    def prompt(self) -> tuple[str, str]:
        """What decides the prompt, without outer white space."""
        return self.instruction.strip(), self.input.strip()

    def with_response(self, response: str) -> Row:
        """Return the row with another response."""
        return replace(self, response=response)


@dataclass(frozen=True)
class BadLine:
    """A line that is no row, and why."""

    number: int
    reason: str


LineT = TypeVar("LineT", bound=_Line)


def read_lines(path: Path, kind: type[LineT]) -> Iterator[tuple[int, LineT] | BadLine]:
    """Yield each non-blank line with its number, as `kind` or as what is wrong with it."""
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                yield BadLine(number, f"longer than {MAX_LINE_BYTES} bytes")
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
            elif line.strip():
                yield _parse(line, number, kind)


def _parse(line: bytes, number: int, kind: type[LineT]) -> tuple[int, LineT] | BadLine:
    try:
        return number, kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return BadLine(number, f"{place}: {first['msg']}" if place else first["msg"])
