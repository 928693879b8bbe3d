"""The trainer as a process, as the kubelet runs and stops it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from loraform_api.artifact import ADAPTER_WEIGHTS
from loraform_api.failures import ExitCode
from loraform_api.names import RunStage

from .conftest import Pod, saved_step
from .forks import FORKS, Import

DEADLINE_SECONDS = 180
SEED = 216
"""Draws the steps at which a process is killed."""


class Training:
    """Train containers of one run, one after another."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self.process: BaseProcess | None = None

    def start(self, pod: Pod) -> BaseProcess:
        arguments = [*pod.arguments("train"), "--mount-wait-seconds=0"]
        self.process = FORKS.Process(target=self._run, args=(arguments, {"HF_HUB_OFFLINE": "1"}, self.log(pod)))
        self.process.start()
        return self.process

    def log(self, pod: Pod) -> Path:
        return pod.root / "log"

    def until_saved(self, pod: Pod, step: int) -> None:
        """Wait for a sealed checkpoint of this step or a later one."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while saved_step(pod.paths.checkpoints) < step:
            assert self.process is not None and self.process.is_alive(), self.log(pod).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def ends(self, pod: Pod, code: int) -> None:
        assert self.process is not None
        self.process.join(DEADLINE_SECONDS)
        assert self.process.exitcode == code, self.log(pod).read_text()

    def finish(self, pod: Pod) -> None:
        self.start(pod)
        self.ends(pod, 0)


@pytest.fixture
def training(forked: Import) -> Iterator[Training]:
    made = Training(forked("train_pod").run)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.join()


def test_sigterm_saves_and_the_next_pod_goes_on(pod: Pod, training: Training) -> None:
    pod.config["spec"]["training"]["epochs"] = 8
    pod.config["spec"]["checkpoint"]["everySteps"] = 10
    assert pod.run("prepare") == 0
    process = training.start(pod)
    training.until_saved(pod, 10)
    process.terminate()
    training.ends(pod, ExitCode.SAVED_AND_STOPPED)
    saved = int(pod.report().message.removeprefix("stopped on request; saved at step "))
    assert 10 <= saved < 72

    training.finish(pod)
    done = pod.report().train
    assert done is not None
    assert done.resumed_from_step == saved


def test_sigterm_ends_a_waiting_prepare(pod: Pod) -> None:
    """As process 1 of a container nothing would end it but our handler; the exit code says why."""
    (pod.paths.sources_mount / "data" / "rows.jsonl").unlink()
    command = [sys.executable, "-m", "loraform_trainer", *pod.arguments("prepare"), "--mount-wait-seconds=120"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(pod.root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (pod.paths.base.is_dir() and any(pod.paths.base.iterdir())):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
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


@pytest.mark.parametrize(("kills", "epochs"), [(3, 5), pytest.param(10, 24, marks=pytest.mark.slow)])
def test_kills_at_random_steps_leave_the_adapter_of_an_undisturbed_run(
    pod: Pod, training: Training, tmp_path_factory: pytest.TempPathFactory, kills: int, epochs: int
) -> None:
    pod.config["spec"]["training"]["epochs"] = epochs
    pod.config["spec"]["checkpoint"]["everySteps"] = 3
    assert pod.run("prepare") == 0
    undisturbed = pod.copied_to(tmp_path_factory.mktemp("undisturbed"))
    training.finish(undisturbed)
    whole = undisturbed.report().train
    assert whole is not None

    chance = random.Random(SEED)
    drawn = sorted(chance.sample(range(3, whole.steps - 6), kills))
    print(f"seed {SEED}: killed near steps {drawn} of {whole.steps}")
    for step in drawn:
        process = training.start(pod)
        training.until_saved(pod, step - 2)
        time.sleep(chance.uniform(0, 0.05))  # anywhere in the steps and the saving that follow
        process.kill()
        training.ends(pod, -signal.SIGKILL)
    training.finish(pod)
    done = pod.report().train
    assert done is not None
    assert done.resumed_from_step > 0
    adapters = [each.paths.adapter / ADAPTER_WEIGHTS for each in (pod, undisturbed)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
