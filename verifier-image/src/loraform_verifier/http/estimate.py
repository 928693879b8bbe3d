"""When a request would be answered, and when it is worth asking again. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outlook:
    """The runs that come before a request's own; times in seconds."""

    running: float = 0
    """Usual length of the run in progress; 0 if there is none."""
    elapsed: float = 0
    """How long it has been in progress."""
    ahead: Sequence[float] = ()
    """Usual length of each waiting run that comes first."""
    own: float = 0
    """Usual length of the request's own run."""

    @property
    def seconds(self) -> float:
        """Seconds until the request is answered. A run that takes longer than usual is taken to end now."""
        return max(0.0, self.running - self.elapsed) + sum(self.ahead) + self.own


def usual(recent: Sequence[float]) -> float:
    """Return the usual length of a run; 0 before the first one, so that nothing is refused without knowledge."""
    return statistics.median(recent) if recent else 0.0


def retry_after(expected: float, within: float) -> int:
    """Return the whole seconds, at least one, after which an answer `within` the same time is expected.

    That holds if nothing else arrives.
    """
    return max(1, math.ceil(expected - within))
