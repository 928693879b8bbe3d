"""Why serving pods do not start."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_operator.iacmodel.pod_problems import pod_problem


def pod(**status: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "engine-x"}, "status": status}


def container(name: str, waiting: dict[str, str], **last: Any) -> dict[str, Any]:
    return {"name": name, "state": {"waiting": waiting}, **({"lastState": {"terminated": last}} if last else {})}


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        (pod(phase="Running"), ""),
        (pod(containerStatuses=[container("engine", {"reason": "ContainerCreating"})]), ""),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: insufficient gpu"}]),
            "pod engine-x: 0/3 nodes: insufficient gpu",
        ),
        (
            pod(initContainerStatuses=[container("verifier", {"reason": "ErrImagePull", "message": "not found"})]),
            "pod engine-x: container verifier: not found",
        ),
        (
            pod(containerStatuses=[container("engine", {"reason": "CrashLoopBackOff"}, exitCode=1)]),
            "pod engine-x: container engine: CrashLoopBackOff (last exit code 1)",
        ),
    ],
)
def test_problem_of_a_pod(child: dict[str, Any], expected: str) -> None:
    assert pod_problem([child]) == expected


def test_a_terminating_pod_is_ignored() -> None:
    going = pod(containerStatuses=[container("engine", {"reason": "ErrImagePull"})])
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pod_problem([going]) == ""
