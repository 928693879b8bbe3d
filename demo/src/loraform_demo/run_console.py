"""Prints and times the demo's phases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from loraform_cli.object_state import minutes


class Phases:
    """Times phases; `seconds` holds those that ended well, by name, in order."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic()

    @contextmanager
    def phase(self, name: str, title: str) -> Iterator[None]:
        """Announce a phase, and print its duration when it ends."""
        number = len(self.seconds) + 1
        self.console.rule(f"[bold]{number}. {title}", align="left")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        self.say(f"{name} done in {minutes(self.seconds[name])}, {minutes(self.total)} since the start")

    @property
    def total(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
