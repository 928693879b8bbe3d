"""The trainer as a process, as the kubelet runs and stops it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from loraform_api.names import RunStage
from loraform_api.run import ExitCode
from loraform_trainer.paths import Paths

DEADLINE_SECONDS = 180


def start(pod: Any, stage: str) -> subprocess.Popen[str]:
    pod.write_config()
    arguments = [f"--{f.name.replace('_', '-')}={getattr(pod.paths, f.name)}" for f in fields(Paths)]
    command = [sys.executable, "-m", "loraform_trainer", stage, *arguments, "--mount-wait-seconds=120"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(pod.root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sigterm_saves_and_the_next_pod_goes_on(pod: Any, stage: Callable[..., int]) -> None:
    pod.config["spec"]["training"]["epochs"] = 8
    pod.config["spec"]["checkpoint"]["everySteps"] = 10
    assert stage("prepare") == 0
    process = start(pod, "train")
    wait_for(lambda: any(pod.paths.checkpoints.glob("checkpoint-*/manifest.json")), process)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == ExitCode.SAVED_AND_STOPPED, log
    saved = int(pod.report().message.removeprefix("asked to stop; saved at step "))
    assert 10 <= saved < 72

    again = start(pod, "train")
    _, log = again.communicate(timeout=DEADLINE_SECONDS)
    assert again.returncode == 0, log
    assert pod.report().train.resumed_from_step == saved


def test_sigterm_ends_a_waiting_prepare(pod: Any) -> None:
    """As process 1 of a container nothing would end it but our handler; the exit code says why."""
    (pod.paths.sources_mount / "data" / "rows.jsonl").unlink()
    process = start(pod, "prepare")
    wait_for(lambda: pod.paths.base.is_dir() and any(pod.paths.base.iterdir()), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("stage_name", [str(s) for s in RunStage])
def test_every_stage_reports_a_config_that_is_not_there(pod: Any, stage_name: str, stage: Callable[..., int]) -> None:
    missing = f"--run-config={pod.root / 'absent.json'}"
    assert stage(stage_name, missing) == ExitCode.INVALID_CONFIG
    said = json.loads(pod.paths.termination_log.read_text())
    assert said["stage"] == stage_name
    assert "absent.json cannot be read" in said["message"]
