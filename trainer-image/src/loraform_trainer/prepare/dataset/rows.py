"""A training row, and the limits on rows of untrusted files."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_LINE_BYTES = 1 << 20
"""Bytes of one row in a file."""
MAX_ROWS = 10_000_000
"""Rows of all sources together."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A training row while it passes through the checks."""

    id: str
    """`<source>:<number of the row in its file>`."""
    instruction: str
    input: str
    response: str

    @property
    def prompt(self) -> tuple[str, str]:
        """Instruction and input without surrounding white space: what the prompt is made of."""
        return self.instruction.strip(), self.input.strip()

    def with_response(self, response: str) -> TrainingRow:
        """Return the row with another response."""
        return replace(self, response=response)
