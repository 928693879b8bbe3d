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
from loraform_operator.kube.objects import Object, path_of

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
        self._posted: dict[str, Object] = {}  # by name: what the next count needs

    async def record(self, obj: Object, note: Note) -> None:
        """Post `note` about `obj`, or increase its count when it was posted before."""
        meta, now = obj["metadata"], timestamp(self._clock())
        identity = short_hash(" ".join((meta["uid"], note.type, note.reason, note.message)))
        name = f"{meta['name']}.{identity}"
        known = self._posted.pop(name, None)
        try:
            if known is None:
                event = await self._post(_body(obj, name, note, now))
            else:
                event = await self._count(known, now)
        except (errors.NotFound, errors.Conflict):
            log.debug("event %s expired, or another process counted it: the next one is posted as new", name)
            return
        except errors.ClusterError as error:
            log.warning("cannot post event %s of %s/%s: %s", note.reason, meta["namespace"], meta["name"], error)
            return
        if len(self._posted) >= KNOWN_LIMIT:
            self._posted.clear()
        self._posted[name] = _identity(event)

    async def _post(self, event: Object) -> Object:
        """Post a new event, or count the one that was posted before this process started."""
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        try:
            return await self._cluster.request("POST", path_of("Event", namespace), event)
        except errors.Conflict:
            found = await self._cluster.list("Event", namespace, fields=f"metadata.name={name}")
            if not found:
                raise
            return await self._count(found[0], event["lastTimestamp"])

    async def _count(self, event: Object, now: str) -> Object:
        return await self._cluster.patch_merge(event, {"count": event.get("count", 1) + 1, "lastTimestamp": now})


def _identity(event: Object) -> Object:
    meta = {k: event["metadata"][k] for k in ("name", "namespace", "resourceVersion")}
    return {"kind": "Event", "metadata": meta, "count": event["count"]}


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
