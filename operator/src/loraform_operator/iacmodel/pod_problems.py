"""Why serving pods do not start, as scheduler, kubelet and Deployment controller report it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from loraform_operator.kube.objects import Object, condition_of
from loraform_operator.pods.status import unschedulable_message, waiting_containers
from loraform_operator.pods.text import clean

STARTING = {"ContainerCreating", "PodInitializing"}
"""Reasons of a container that starts normally."""


def pod_problem(children: Iterable[Object]) -> str:
    """Return what keeps a pod from starting (no node, no volume, no image, a crash, a refusal), or an empty text."""
    for child in children:
        name = child["metadata"]["name"]
        if child["kind"] == "Pod" and "deletionTimestamp" not in child["metadata"]:
            problem = unschedulable_message(child) or _container_problem(child)
            if problem:
                return f"pod {name}: {clean(problem)}"
        if child["kind"] == "Deployment" and (problem := _refused_pods(child)):
            return f"Deployment {name}: {clean(problem)}"
    return ""


def _container_problem(pod: Object) -> str:
    for container in waiting_containers(pod):
        if container.reason not in STARTING:
            ended = (container.status.get("lastState") or {}).get("terminated") or {}
            exit_code = f" (last exit code {ended['exitCode']})" if "exitCode" in ended else ""
            return container.message + exit_code
    return ""


def _refused_pods(deployment: Object) -> str:
    """Return how quota or admission refused the Deployment's pods."""
    return str((condition_of(deployment, "ReplicaFailure") or {}).get("message", ""))
