"""The trainer as a process, as the kubelet runs and stops it."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from loraform_api.artifact import ADAPTER_WEIGHTS
from loraform_api.failures import ExitCode
from loraform_api.names import RunStage
from loraform_trainer.runtime.paths import Paths

DEADLINE_SECONDS = 180
KILLS = 10


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


@pytest.mark.slow
def test_ten_kills_at_random_steps_leave_the_adapter_of_an_undisturbed_run(pod: Any, stage: Callable[..., int]) -> None:
    pod.config["spec"]["training"]["epochs"] = 24
    pod.config["spec"]["checkpoint"]["everySteps"] = 3
    assert stage("prepare") == 0
    _finish(pod)
    undisturbed, steps = (pod.paths.adapter / ADAPTER_WEIGHTS).read_bytes(), pod.report().train.steps
    for folder in (pod.paths.checkpoints, pod.paths.adapter):
        shutil.rmtree(folder)
    pod.paths.report(RunStage.TRAIN).unlink()

    chance = random.Random(steps)
    for end in sorted(chance.sample(range(3, steps - 6), KILLS)):
        process = start(pod, "train")
        wait_for(lambda step=end: _saved(pod) >= step - 2, process)
        time.sleep(chance.uniform(0, 0.05))  # anywhere in the steps and the saving that follow
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == -signal.SIGKILL
    _finish(pod)
    assert pod.report().train.resumed_from_step > 0
    assert (pod.paths.adapter / ADAPTER_WEIGHTS).read_bytes() == undisturbed


def _finish(pod: Any) -> None:
    process = start(pod, "train")
    _, log = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, log


def _saved(pod: Any) -> int:
    """Return the step of the newest sealed checkpoint."""
    names = (path.parent.name for path in pod.paths.checkpoints.glob("checkpoint-*/manifest.json"))
    return max((int(name.removeprefix("checkpoint-")) for name in names), default=0)
