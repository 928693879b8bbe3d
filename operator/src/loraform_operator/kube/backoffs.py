"""Pauses between attempts that never end: an API server that is away must not end the process."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST = 30.0


class Backoffs:
    """Seconds: 1, 2, 4 … and then `LONGEST`, for ever; can be iterated any number of times."""

    def __iter__(self) -> Iterator[float]:
        pause = 1.0
        while True:
            yield pause
            pause = min(LONGEST, pause * 2)
