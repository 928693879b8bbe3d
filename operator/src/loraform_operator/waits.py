"""How long objects wait that no watch can wake: each poll comes after as long as the object has waited already.

A run without its claim, its quota or its node may wait for days. Polling it every few seconds costs requests that a run
in motion then lacks; a person who has just created what is missing looks again within seconds. Both get what they need.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime

FIRST_POLL, LONGEST_POLL = 10.0, 300.0
"""Seconds until the first poll, and at most until a later one."""
JITTER = 0.2


def wait_seconds(waited: float, share: float) -> float:
    """Return the seconds until the next poll of an object that has waited so many seconds for the same cause.

    `share` is a random number from 0 to 1: objects that began to wait together do not stay together.
    """
    return max(FIRST_POLL, min(LONGEST_POLL, waited) * (1 - JITTER * share))


@dataclass
class Waits:
    """What each object waits for, and since when. In memory: after a restart each wait begins anew."""

    share: Callable[[], float] = random.random
    _waits: dict[Hashable, tuple[str, datetime]] = field(default_factory=dict)

    def pause(self, key: Hashable, cause: str, now: datetime) -> float:
        """Return the seconds until the next poll; another cause than the last one begins anew."""
        before, since = self._waits.get(key, ("", now))
        if before != cause:
            since = now
        self._waits[key] = (cause, since)
        return wait_seconds((now - since).total_seconds(), self.share())

    def forget(self, key: Hashable) -> None:
        """Drop the wait of an object that goes on, or no longer exists."""
        self._waits.pop(key, None)
