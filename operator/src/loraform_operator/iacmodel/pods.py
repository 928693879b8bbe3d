"""Why serving pods do not come up, in the words of scheduler and kubelet. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loraform_operator.finetunejob.reports import clean, container_statuses

Object = dict[str, Any]
HARMLESS = {"ContainerCreating", "PodInitializing"}


def trouble(children: Iterable[Object]) -> str:
    """Return what keeps a pod from running, or nothing: an unbound volume, no node, no image, a crash."""
    for child in children:
        if child["kind"] == "Pod" and "deletionTimestamp" not in child["metadata"]:
            why = _unscheduled(child) or _container(child)
            if why:
                return f"pod {child['metadata']['name']}: {clean(why)}"
        if child["kind"] == "Deployment" and (why := _not_created(child)):
            return f"Deployment {child['metadata']['name']}: {clean(why)}"
    return ""


def _unscheduled(pod: Object) -> str:
    found = (pod.get("status") or {}).get("conditions") or []
    told = (c.get("message", "") for c in found if (c["type"], c["status"]) == ("PodScheduled", "False"))
    return next(told, "")


def _container(pod: Object) -> str:
    for status in container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting and waiting.get("reason") not in HARMLESS:
            ended = (status.get("lastState") or {}).get("terminated") or {}
            exit_code = f" (last exit code {ended['exitCode']})" if "exitCode" in ended else ""
            return f"container {status['name']}: {waiting.get('message') or waiting.get('reason')}{exit_code}"
    return ""


def _not_created(deployment: Object) -> str:
    """Quota or admission refused the pods."""
    found = (deployment.get("status") or {}).get("conditions") or []
    told = (c.get("message", "") for c in found if (c["type"], c["status"]) == ("ReplicaFailure", "True"))
    return next(told, "")
