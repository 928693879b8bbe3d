"""Endless backoff: an API server that is down must not end the process."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST = 30.0


class Backoffs:
    """Seconds between attempts: 1, 2, 4 … up to `LONGEST`, without end; can be iterated repeatedly."""

    def __iter__(self) -> Iterator[float]:
        pause = 1.0
        while True:
            yield pause
            pause = min(LONGEST, pause * 2)
