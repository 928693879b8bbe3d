"""Rows of data sets and suites, and how large hostile ones may be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loraform_api.verification import IntentSpec

MAX_LINE_BYTES = 1 << 20
"""Bytes of one row in a file."""
MAX_TEXT = 200_000
"""Characters of one text, as the verifier takes them."""
MAX_ROWS = 10_000_000
"""Rows of all sources together."""

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Label = int | Annotated[str, Field(max_length=100)]


class SuiteLine(BaseModel):
    """A row of a suite; columns that we do not know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: Annotated[str, Field(min_length=1, max_length=150)]
    instruction: Text
    input: Text | None = None
    asked: IntentSpec | None = None
    rego: Text | None = None
    """A policy that Intent asks of the plan."""
    difficulty: Label | None = None
    cluster: Label | None = None
    """Rows of a suite with the same cluster vary one thing."""
    reference: Text | None = None
    """A right answer. Never trained on and never shown to a model: read for its resource types, and to keep its like
    out of training."""

    @field_validator("instruction")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value


@dataclass(frozen=True, slots=True)
class Row:
    """One training row on its way through the checks."""

    id: str
    """`<source>:<number of the row in its file>`."""
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
