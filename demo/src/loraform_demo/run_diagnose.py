"""Diagnosis of a failed phase: conditions, warnings, pods and the last lines of their logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loraform_demo.run_cluster import OPERATOR_NAMESPACE
from loraform_demo.run_kube import DemoError, Kube
from loraform_demo.run_store import NAMESPACE

LOG_LINES = 15


def diagnosis(kube: Kube) -> Iterator[str]:
    """Yield lines that say what the cluster knows of the failure."""
    for kind in ("finetunejobs.loraform.dev", "iacmodels.loraform.dev"):
        for item in kube.items(kind, NAMESPACE):
            yield f"{item['kind']} {item['metadata']['name']}"
            yield from (f"  {line}" for line in condition_lines(item))
    for namespace in (OPERATOR_NAMESPACE, NAMESPACE):
        warnings = kube.items("events", namespace, "--field-selector=type=Warning")
        for event in sorted(warnings, key=_when)[-10:]:
            subject = event["involvedObject"]
            yield f"Warning {subject['kind']}/{subject['name']} {event.get('reason', '')}: {event.get('message', '')}"
        for pod in kube.items("pods", namespace):
            yield from pod_lines(kube, namespace, pod)


def _when(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def condition_lines(item: dict[str, Any]) -> Iterator[str]:
    """Yield the conditions of one object."""
    for condition in item.get("status", {}).get("conditions", []):
        yield f"{condition['type']}={condition['status']} {condition['reason']}: {condition.get('message', '')}"


def pod_lines(kube: Kube, namespace: str, pod: dict[str, Any]) -> Iterator[str]:
    """Yield a pod's state, and where it is not well the last lines of each container's log."""
    status = pod.get("status", {})
    name = pod["metadata"]["name"]
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    yield f"pod {namespace}/{name}: {status.get('phase')}"
    if status.get("phase") == "Succeeded" or (containers and all(c["ready"] for c in containers)):
        return
    for container in containers:
        state: dict[str, dict[str, Any]] = container.get("state", {})
        for word, detail in state.items():
            yield f"  {container['name']}: {word} {detail.get('reason', '')} {detail.get('message', '')}".rstrip()
        try:
            words = (f"--namespace={namespace}", f"--container={container['name']}", f"--tail={LOG_LINES}")
            log = kube.run("logs", name, *words)
        except DemoError:
            continue
        yield from (f"    {line}" for line in log.splitlines())
