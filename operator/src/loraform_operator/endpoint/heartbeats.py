"""Stores the last heartbeat of each gateway and agent, in memory: after a restart they arrive within seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loraform_api.heartbeat import Heartbeat, Route

ModelKey = tuple[str, str]
"""Namespace and name of an IaCModel."""

RouteStore = dict[ModelKey, Route]
"""The current route by model; the IaCModel's reconcile writes it, each heartbeat is answered with it."""


@dataclass(frozen=True)
class ReceivedHeartbeat:
    """A heartbeat and when it arrived."""

    heartbeat: Heartbeat
    received: datetime


@dataclass
class HeartbeatStore:
    """The last heartbeat of each pod; one older than `timeout` does not count."""

    timeout: timedelta
    _beats: dict[ModelKey, dict[str, ReceivedHeartbeat]] = field(default_factory=dict)

    def record(self, key: ModelKey, pod_uid: str, heartbeat: Heartbeat, now: datetime) -> bool:
        """Store a heartbeat; True when the pod is new, or anything but its counters changed."""
        pods = self._beats.setdefault(key, {})
        before = pods.get(pod_uid)
        pods[pod_uid] = ReceivedHeartbeat(heartbeat, now)
        return before is None or _facts(before.heartbeat) != _facts(heartbeat)

    def agents(self, key: ModelKey, now: datetime) -> dict[str, Heartbeat]:
        """Return the agents with a current heartbeat, by pod uid."""
        return self._current(key, "agent", now)

    def gateways(self, key: ModelKey, now: datetime) -> dict[str, Heartbeat]:
        """Return the gateways with a current heartbeat, by pod uid."""
        return self._current(key, "gateway", now)

    def forget(self, key: ModelKey) -> None:
        """Drop the heartbeats of a deleted model."""
        self._beats.pop(key, None)

    def keep_pods(self, key: ModelKey, pod_uids: set[str]) -> None:
        """Drop the heartbeats of pods that no longer exist."""
        pods = self._beats.get(key, {})
        for uid in set(pods) - pod_uids:
            del pods[uid]

    def _current(self, key: ModelKey, role: str, now: datetime) -> dict[str, Heartbeat]:
        beats = self._beats.get(key, {}).items()
        return {u: b.heartbeat for u, b in beats if b.heartbeat.role == role and now - b.received <= self.timeout}


def _facts(heartbeat: Heartbeat) -> object:
    return heartbeat.model_copy(update={"counters": {}})
