"""Prints one line per step, with its seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Prints steps to `out`; on a terminal the running step is visible before it ends."""

    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out = out

    def note(self, text: str) -> None:
        """Print one line that is not a step."""
        print(text, file=self._out, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time the block and print `title` with its seconds, or with FAILED when it raises."""
        live = self._out.isatty()
        if live:
            print(f"   …       {title}", end="", file=self._out, flush=True)
        started = time.monotonic()
        outcome = "FAILED"
        try:
            yield
            outcome = ""
        finally:
            seconds = time.monotonic() - started
            line = f"{seconds:8.1f}s  {title}" + (f"  {outcome}" if outcome else "")
            print(f"\r\033[K{line}" if live else line, file=self._out, flush=True)
