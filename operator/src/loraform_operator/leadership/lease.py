"""The rules by which operators share one Lease; they are client-go's. Pure.

No two clocks are compared. A candidate takes a lease that it has seen unchanged for the lease's duration, by its own
clock; the holder stops earlier, at the renew deadline after its last renewal. So the old holder has stopped before
another one starts. The times in the record are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from loraform_operator.kube.objects import Object

SHORTEST_SECONDS = 3
"""Shortest duration of a lease: below it a renewal could not be tried twice."""


@dataclass(frozen=True)
class Terms:
    """The times of a lease, in seconds; with 15 they are client-go's 15, 10 and 2."""

    duration: int
    """A candidate takes a lease that did not change for so long."""

    @property
    def renew_deadline(self) -> float:
        """The holder writes nothing when its last renewal is older."""
        return self.duration * 2 / 3

    @property
    def retry(self) -> float:
        """Time between two looks of a candidate, or two renewals of the holder."""
        return self.duration * 2 / 15


@dataclass(frozen=True)
class Record:
    """What a Lease says."""

    holder: str = ""
    """Identity of the holder; empty when the lease is free."""
    duration: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    transitions: int = 0

    @classmethod
    def read(cls, lease: Object) -> Record:
        spec = lease.get("spec") or {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            duration=spec.get("leaseDurationSeconds") or 0,
            acquire_time=spec.get("acquireTime") or "",
            renew_time=spec.get("renewTime") or "",
            transitions=spec.get("leaseTransitions") or 0,
        )

    def spec(self) -> Object:
        """Return the record as `spec` of a Lease."""
        return {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration,
            "acquireTime": self.acquire_time,
            "renewTime": self.renew_time,
            "leaseTransitions": self.transitions,
        }


@dataclass(frozen=True)
class Seen:
    """A record, and when the reader's own clock first showed it."""

    record: Record
    at: float


class Action(Enum):
    """What a process does about the record that it has seen."""

    TAKE = auto()
    RENEW = auto()
    WAIT = auto()


def observe(before: Seen, record: Record | None, now: float) -> Seen:
    """Return what is now known of the lease; `record` is None when it does not exist.

    An unchanged record keeps the time at which it was first seen. That of a lease that somebody deleted does too: its
    holder may still write.
    """
    return before if record is None or record == before.record else Seen(record, now)


def decide(identity: str, seen: Seen, now: float) -> Action:
    """Return what the process with this identity does."""
    if seen.record.holder == identity:
        return Action.RENEW
    free = not seen.record.holder or now - seen.at >= seen.record.duration
    return Action.TAKE if free else Action.WAIT


def held_by(identity: str, terms: Terms, before: Record, wall: datetime) -> Record:
    """Return the record to write for TAKE and RENEW."""
    time = micro_time(wall)
    if before.holder == identity:
        return Record(identity, terms.duration, before.acquire_time, time, before.transitions)
    transitions = before.transitions + 1 if before.acquire_time else 0
    return Record(identity, terms.duration, time, time, transitions)


def released(before: Record, wall: datetime) -> Record:
    """Return the record of a holder that ends: the next candidate need not wait."""
    time = micro_time(wall)
    return Record("", 1, time, time, before.transitions)


def micro_time(wall: datetime) -> str:
    """Return a time as Kubernetes' MicroTime."""
    return wall.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
