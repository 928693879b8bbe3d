"""Core/v1 Events on a custom resource: one for each transition, repeated ones counted up instead of posted anew."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from loraform_api.meta import timestamp
from loraform_api.names import MANAGER, short_hash
from loraform_operator.kube import errors
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.objects import Object

log = logging.getLogger(__name__)
MESSAGE_LIMIT = 1000
KNOWN_LIMIT = 4096


@dataclass(frozen=True)
class Note:
    """An event to tell once a status write has succeeded."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


class Recorder:
    """Writes Events. A failure is logged and forgotten: no work waits for an event."""

    def __init__(self, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._counts: dict[str, int] = {}

    async def record(self, obj: Object, note: Note) -> None:
        """Post `note` about `obj`, or count it up where the same was told of the same object before."""
        meta, now = obj["metadata"], timestamp(self._clock())
        told = short_hash(" ".join((meta["uid"], note.type, note.reason, note.message)))
        name = f"{meta['name']}.{told}"
        count = self._counts.get(name, 0) + 1
        try:
            if count > 1:
                counted = {"count": count, "lastTimestamp": now}
                await self._cluster.patch_merge("Event", meta["namespace"], name, counted)
            else:
                await self._cluster.request(
                    "POST", f"/api/v1/namespaces/{meta['namespace']}/events", _body(obj, name, note, now)
                )
        except errors.NotFound:
            self._counts.pop(name, None)  # it expired: the next one is posted anew
            return
        except errors.Conflict:
            log.debug("event %s was told before a restart", name)
        except errors.ClusterError as error:
            log.warning("event %s of %s/%s: %s", note.reason, meta["namespace"], meta["name"], error)
            return
        if len(self._counts) >= KNOWN_LIMIT:
            self._counts.clear()
        self._counts[name] = count


def _body(obj: Object, name: str, note: Note, now: str) -> Object:
    meta = obj["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "type": note.type,
        "reason": note.reason,
        "message": note.message[:MESSAGE_LIMIT],
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
