from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from loraform_api.failures import ExitCode
from loraform_operator.finetunejob.reports import failed_attempt, read_report


def pod(terminated: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    state = {"terminated": terminated} if terminated else {}
    return {
        "metadata": {
            "name": "p",
            "labels": {"loraform.dev/stage": "train"},
            "creationTimestamp": "2026-11-24T10:00:00Z",
        },
        "status": {"phase": "Failed", "containerStatuses": [{"name": "train", "state": state}], **status},
    }


DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}]


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        *((pod({"exitCode": int(c)}), str(c.failure)) for c in ExitCode if c.failure),
        (pod({"exitCode": 137, "reason": "OOMKilled"}), "OutOfMemory"),
        (pod({"exitCode": 137}), "TrainerError"),
        (pod({"exitCode": 1}), "TrainerError"),
        (pod(), "LostReport"),
        (pod(reason="Evicted", message="disk pressure"), "Evicted"),
        (pod({"exitCode": 143}, conditions=DISRUPTED), "Evicted"),
        (pod({"exitCode": 1, "message": json.dumps({"stage": "train", "exitCode": 80})}), "NonFiniteLoss"),
        (pod({"exitCode": 65, "message": json.dumps({"stage": "prepare", "exitCode": 80})}), "DatasetInvalid"),
    ],
)
def test_failure_class(failed: dict[str, Any], reason: str) -> None:
    attempt = failed_attempt(failed)
    assert attempt.reason == reason
    assert attempt.message
    assert attempt.hint


OOM = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-11-24T10:00:30Z"}
PLACED, FIXED = "its memory limit (spec.placement.resources.memory)", "its memory limit, which is fixed"


def report(code: int, message: str = "") -> dict[str, Any]:
    return {"exitCode": code, "message": json.dumps({"stage": "train", "exitCode": code, "message": message})}


@pytest.mark.parametrize(
    "states",
    [
        {"state": {"terminated": OOM}},
        {"state": {"running": {}}, "lastState": {"terminated": OOM}},
        {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": OOM}},
        {"state": {"terminated": {"exitCode": 143}}, "lastState": {"terminated": OOM}},
    ],
)
def test_an_engine_out_of_memory_explains_a_trainer_error(states: dict[str, Any]) -> None:
    engine = {"name": "engine", **states}
    said = "the engine did not answer: ServerDisconnectedError"
    attempt = failed_attempt(pod(report(70, said), initContainerStatuses=[engine]))
    assert attempt.reason == "OutOfMemory"
    assert attempt.message == f"container engine exceeded {PLACED}; train reported: {said}"
    assert "`placement.resources.memory`" in attempt.hint
    assert "microBatchSize" not in attempt.hint


def test_a_fixed_memory_limit_is_not_to_be_raised() -> None:
    verifier = {"name": "verifier", "state": {"terminated": OOM}}
    attempt = failed_attempt(pod({"exitCode": 1}, initContainerStatuses=[verifier]))
    assert (attempt.reason, attempt.message) == ("OutOfMemory", f"container verifier exceeded {FIXED}")
    assert "placement" not in attempt.hint


def test_every_container_out_of_memory_is_named() -> None:
    killed = [{"name": name, "state": {"terminated": OOM}} for name in ("engine", "verifier")]
    attempt = failed_attempt(pod({"exitCode": 1}, initContainerStatuses=killed))
    assert attempt.message == f"container engine exceeded {PLACED}, container verifier exceeded {FIXED}"


@pytest.mark.parametrize("code", [c for c in ExitCode if c.failure and c is not ExitCode.TRAINER_ERROR])
@pytest.mark.parametrize("ended", [report, lambda code: {"exitCode": code}])
def test_a_class_of_its_own_stays(code: ExitCode, ended: Callable[[int], dict[str, Any]]) -> None:
    engine = {"name": "engine", "state": {"running": {}}, "lastState": {"terminated": OOM}}
    for more in ({"initContainerStatuses": [engine]}, {"conditions": DISRUPTED}):
        assert failed_attempt(pod(ended(int(code)), **more)).reason == code.failure


def test_an_eviction_explains_a_trainer_error() -> None:
    attempt = failed_attempt(pod(report(70, "the engine did not answer"), conditions=DISRUPTED))
    assert (attempt.reason, attempt.message) == ("Evicted", "preempted; train reported: the engine did not answer")


@pytest.mark.parametrize("message", ["", "{", "null", '{"stage": "train", "unknown": 1}', '{"stage": "publish"}'])
def test_unreadable_reports(message: str) -> None:
    assert read_report(pod({"exitCode": 0, "message": message})) is None
