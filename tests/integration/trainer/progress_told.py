"""Progress that a test can read."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from loraform_trainer.runtime.progress import Progress


class Told(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(None)
        self.shares: list[float] = []

    @override
    def update(self, done: float, **more: Any) -> None:
        self.shares.append(done)
