"""The chain that rows pass before training. Each filter keeps, changes or drops a row; drops are counted by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from loraform_trainer.rows import Row

Filter = Callable[[Row], Row | str]
"""Returns the row to go on with, or why it is dropped."""


@dataclass
class Ledger:
    """How many rows each filter dropped, and one example each for the message."""

    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    read: int = 0

    def drop(self, name: str, example: str) -> None:
        """Count one row dropped by filter `name`."""
        self.dropped[name] = self.dropped.get(name, 0) + 1
        self.examples.setdefault(name, example)

    def summary(self) -> str:
        """Return the drops in one line, with the first example of each filter."""
        parts = [f"{name} {count} (first: {self.examples[name]})" for name, count in self.dropped.items()]
        return "; ".join(parts) or "none"


def apply(chain: Iterable[tuple[str, Filter]], rows: Iterable[Row], ledger: Ledger) -> list[Row]:
    """Pass each row through the chain in order; return those that came through."""
    steps = list(chain)
    kept = []
    for row in rows:
        current = row
        for name, step in steps:
            outcome = step(current)
            if isinstance(outcome, str):
                ledger.drop(name, f"{row.id}: {outcome}")
                break
            current = outcome
        else:
            kept.append(current)
    return kept
