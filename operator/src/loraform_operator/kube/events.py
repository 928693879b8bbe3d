"""Posts core/v1 Events about a custom resource; a repeated event increases the count of the first."""

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
    """An event to post after a status write."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


class Recorder:
    """Posts Events; a failure is only logged, because no work depends on an event."""

    def __init__(self, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._counts: dict[str, int] = {}

    async def record(self, obj: Object, note: Note) -> None:
        """Post `note` about `obj`, or increase its count when it was posted before."""
        meta, now = obj["metadata"], timestamp(self._clock())
        identity = short_hash(" ".join((meta["uid"], note.type, note.reason, note.message)))
        name = f"{meta['name']}.{identity}"
        count = self._counts.get(name, 0) + 1
        try:
            if count > 1:
                update = {"count": count, "lastTimestamp": now}
                await self._cluster.patch_merge("Event", meta["namespace"], name, update)
            else:
                await self._cluster.request(
                    "POST", f"/api/v1/namespaces/{meta['namespace']}/events", _body(obj, name, note, now)
                )
        except errors.NotFound:
            self._counts.pop(name, None)  # it expired: post the next one as new
            return
        except errors.Conflict:
            log.debug("event %s was posted before a restart", name)
        except errors.ClusterError as error:
            log.warning("cannot post event %s of %s/%s: %s", note.reason, meta["namespace"], meta["name"], error)
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
