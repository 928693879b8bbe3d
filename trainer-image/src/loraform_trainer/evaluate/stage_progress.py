"""Progress of a stage that consists of several parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loraform_trainer.runtime.progress import Progress


@dataclass(frozen=True, slots=True)
class PartialProgress:
    """Progress of a part of a stage, from 0 to 1.

    The part runs from `begin` to `end` of the stage's progress, which is from 0 to 1, too.
    """

    progress: Progress
    begin: float = 0.0
    end: float = 1.0

    def __call__(self, done: float) -> None:
        """Report the completed share of this part."""
        self.update(done)

    def update(
        self, done: float, *, remaining_seconds: float | None = None, metrics: Mapping[str, object] | None = None
    ) -> None:
        """Report the completed share of this part; `remaining_seconds` is of the whole stage. Never blocks."""
        self.progress.update(self.of_stage(done), remaining_seconds=remaining_seconds, metrics=metrics)

    def part(self, begin: float, end: float) -> PartialProgress:
        """Return the progress of a part of this part."""
        return PartialProgress(self.progress, self.of_stage(begin), self.of_stage(end))

    def of_stage(self, done: float) -> float:
        """Return the stage's progress at a completed share of this part."""
        return self.begin + (self.end - self.begin) * done
