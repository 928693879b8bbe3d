"""The status of a pod, as scheduler and kubelet report it: phase, containers, why it does not start. Pure."""

from __future__ import annotations

from typing import NamedTuple

from loraform_operator.kube.objects import Object, condition_of


class WaitingContainer(NamedTuple):
    """A container that the kubelet has not started, or not started again."""

    status: Object
    reason: str
    message: str
    """Container and the kubelet's message, or its reason when there is none."""


def phase(pod: Object) -> str:
    """Return the pod's phase; `Pending` when it has no status yet."""
    return str(pod.get("status", {}).get("phase", "Pending"))


def sidecar_statuses(pod: Object) -> list[Object]:
    """Return the container status of each native sidecar."""
    return list(pod.get("status", {}).get("initContainerStatuses") or [])


def container_statuses(pod: Object) -> list[Object]:
    """Return the container status of all containers, sidecars first."""
    return [*sidecar_statuses(pod), *(pod.get("status", {}).get("containerStatuses") or [])]


def unschedulable_message(pod: Object) -> str:
    """Return why the scheduler finds no node for the pod; empty when it does."""
    return str((condition_of(pod, "PodScheduled", "False") or {}).get("message") or "")


def waiting_containers(pod: Object) -> list[WaitingContainer]:
    """Return the containers in state `waiting`, sidecars first."""
    waiting = ((status, (status.get("state") or {}).get("waiting") or {}) for status in container_statuses(pod))
    return [
        WaitingContainer(status, str(state.get("reason")), f"container {status['name']}: {_message(state)}")
        for status, state in waiting
        if state
    ]


def _message(waiting: Object) -> str:
    return str(waiting.get("message") or waiting.get("reason"))
