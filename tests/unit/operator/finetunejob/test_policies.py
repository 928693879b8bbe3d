"""How long a sidecar that was killed or cannot start blocks a run, and when it ends it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api.finetunejob import FineTuneJob
from loraform_api.meta import parse_timestamp
from loraform_api.run import TrainerStatus
from loraform_operator.endpoint.progress_store import ProgressReport
from loraform_operator.finetunejob.observe import Observed
from loraform_operator.finetunejob.policies import first_block, first_failure
from loraform_operator.settings import load_settings

CASES = Path(__file__).parents[3] / "cases" / "finetunejob"
CASE = CASES / "34-sidecar-out-of-memory-starts-again"
SETTINGS = load_settings(CASES / "settings.yaml")
KILLED = parse_timestamp("2026-11-24T10:12:58Z")
POD = "pod-evaluate-aaaaa"


def block_of(engine: dict[str, Any] | None = None, progress: ProgressReport | None = None) -> str | None:
    """Return the reason of the block in the golden case with another engine state or progress."""
    job = FineTuneJob.model_validate(yaml.safe_load((CASE / "input.yaml").read_text()))
    case = yaml.safe_load((CASE / "observed.yaml").read_text())
    if engine is not None:
        case["pods"][0]["status"]["initContainerStatuses"][0] = {"name": "engine", **engine}
    observed = Observed(job=job, pods=tuple(case["pods"]), stage_job=case["jobs"][0], progress=progress)
    block = first_block(observed, SETTINGS, KILLED + timedelta(minutes=1))
    return None if block is None else block.reason


def reported(seconds: int, pod: str = POD) -> ProgressReport:
    return ProgressReport(TrainerStatus(progress_percentage=10), pod, KILLED + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("progress", "reason"),
    [
        (None, "OutOfMemory"),
        (reported(-1), "OutOfMemory"),
        (reported(1, "another-pod"), "OutOfMemory"),
        (reported(1), None),
    ],
)
def test_progress_after_the_kill_ends_the_block(progress: ProgressReport | None, reason: str | None) -> None:
    assert block_of(progress=progress) == reason


OOM = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-11-24T10:12:58Z"}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}
CRASHED = {"terminated": {"reason": "Error", "exitCode": 1}}


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ({"state": OOM}, "OutOfMemory"),
        ({"state": BACK_OFF, "lastState": OOM, "restartCount": 3}, "OutOfMemory"),
        ({"state": BACK_OFF, "lastState": CRASHED, "restartCount": 3}, "SidecarCrashing"),
        ({"state": {"running": {}}}, None),
    ],
)
def test_block_by_state_of_the_engine(engine: dict[str, Any], reason: str | None) -> None:
    assert block_of(engine) == reason


NEVER_STARTS = CASES / "52-engine-never-starts"
LOADING = {"state": {"running": {}}, "started": False}
WAITING = {"state": BACK_OFF, "started": False}
UP = {"state": {"running": {}}, "started": True}


def starting(engine: dict[str, Any], *, minutes: int) -> tuple[str | None, str | None]:
    """Return the reasons of block and failure, `minutes` after the pod began and before the evaluator could."""
    job = FineTuneJob.model_validate(yaml.safe_load((NEVER_STARTS / "input.yaml").read_text()))
    case = yaml.safe_load((NEVER_STARTS / "observed.yaml").read_text())
    status = case["pods"][0]["status"]
    status["initContainerStatuses"] = [{"name": "engine", **engine}]
    observed = Observed(job=job, pods=tuple(case["pods"]), stage_job=case["jobs"][0])
    now = parse_timestamp(status["startTime"]) + timedelta(minutes=minutes)
    found = first_block(observed, SETTINGS, now), first_failure(observed, job.status, now)
    block, failed = (None if f is None else str(f.reason) for f in found)
    return block, failed


@pytest.mark.parametrize("state", [LOADING, WAITING], ids=["loading again", "backing off"])
def test_an_engine_that_ended_while_it_started_blocks_until_it_has_started(state: dict[str, Any]) -> None:
    """The kubelet starts it again and again, and the reason must not come and go with that."""
    ended = {**state, "lastState": CRASHED, "restartCount": 2}
    assert starting(ended, minutes=10) == ("SidecarCrashing", None)
    assert starting({**ended, **UP}, minutes=10) == (None, None)


def test_a_slow_start_is_no_failure() -> None:
    assert starting({**LOADING, "restartCount": 0}, minutes=180) == (None, None)


@pytest.mark.parametrize(("last", "reason"), [(CRASHED, "SidecarCrashing"), (OOM, "OutOfMemory")])
def test_an_engine_that_never_starts_ends_the_run(last: dict[str, Any], reason: str) -> None:
    ended = {**LOADING, "lastState": last, "restartCount": 1}
    assert starting(ended, minutes=119)[1] is None
    assert starting(ended, minutes=120)[1] == reason
