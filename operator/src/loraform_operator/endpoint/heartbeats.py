"""What gateways and agents last said, and the route they get as answer; memory only, heard again within seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loraform_api.heartbeat import Heartbeat, Route

ModelKey = tuple[str, str]
"""Namespace and name of an IaCModel."""

RouteStore = dict[ModelKey, Route]
"""The route in force by model; written by the IaCModel's reconcile, answered to each heartbeat."""


@dataclass(frozen=True)
class Beat:
    heartbeat: Heartbeat
    received: datetime


@dataclass
class HeartbeatStore:
    """The last heartbeat of each pod. One that is older than `timeout` does not count."""

    timeout: timedelta
    _beats: dict[ModelKey, dict[str, Beat]] = field(default_factory=dict)

    def record(self, key: ModelKey, pod_uid: str, heartbeat: Heartbeat, now: datetime) -> bool:
        """Keep it; True when the pod is new or a fact that decisions read changed (role, route revision, adapters)."""
        pods = self._beats.setdefault(key, {})
        before = pods.get(pod_uid)
        pods[pod_uid] = Beat(heartbeat, now)
        return before is None or _facts(before.heartbeat) != _facts(heartbeat)

    def agents(self, key: ModelKey, now: datetime) -> dict[str, Heartbeat]:
        """Return the agents heard of lately, by pod uid."""
        return self._heard(key, "agent", now)

    def gateways(self, key: ModelKey, now: datetime) -> dict[str, Heartbeat]:
        """Return the gateways heard of lately, by pod uid."""
        return self._heard(key, "gateway", now)

    def forget(self, key: ModelKey) -> None:
        """Drop all of a model that is gone."""
        self._beats.pop(key, None)

    def keep_pods(self, key: ModelKey, pod_uids: set[str]) -> None:
        """Drop pods that are gone."""
        pods = self._beats.get(key, {})
        for uid in set(pods) - pod_uids:
            del pods[uid]

    def _heard(self, key: ModelKey, role: str, now: datetime) -> dict[str, Heartbeat]:
        beats = self._beats.get(key, {}).items()
        return {u: b.heartbeat for u, b in beats if b.heartbeat.role == role and now - b.received <= self.timeout}


def _facts(heartbeat: Heartbeat) -> object:
    return heartbeat.role, heartbeat.route_revision, heartbeat.adapters
