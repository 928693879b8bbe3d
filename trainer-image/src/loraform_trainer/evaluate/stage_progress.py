"""How far a stage is, told by its parts: each part knows its own progress, from 0 to 1, and nothing of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loraform_trainer.runtime.progress import Progress


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a stage that goes from `begin` to `end` of its progress."""

    progress: Progress
    begin: float = 0.0
    end: float = 1.0

    def __call__(self, done: float) -> None:
        """Say how much of this part is done."""
        self.tell(done)

    def tell(
        self, done: float, *, remaining_seconds: float | None = None, metrics: Mapping[str, object] | None = None
    ) -> None:
        """As `Progress.update`, of this part; `remaining_seconds` are those of the whole stage."""
        self.progress.update(self._at(done), remaining_seconds=remaining_seconds, metrics=metrics)

    def part(self, begin: float, end: float) -> Share:
        """Return a part of this part."""
        return Share(self.progress, self._at(begin), self._at(end))

    def _at(self, done: float) -> float:
        return self.begin + (self.end - self.begin) * done
