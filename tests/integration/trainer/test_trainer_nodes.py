"""Many train pods on loopback, each a process: they end with the adapter of one, and survive the loss of one."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from loraform_api.failures import ExitCode
from loraform_api.names import ENV_MASTER, ENV_NODES, ENV_PROCESSES, RunStage
from loraform_api.run import StageReport
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.train.peers.launch import ENV_POD_INDEX

from ..waiting import free_port

DEADLINE_SECONDS = 300
TOLERANCE = 1e-5
"""Largest difference of an adapter weight, by the largest of its matrix: sums over processes round otherwise."""
FORKS = multiprocessing.get_context("forkserver")


class Pods:
    """The train pods of one run: they share its workspace, as on a ReadWriteMany volume."""

    def __init__(self, pod: Any, count: int, run: Any) -> None:
        self.pod, self.count, self._run = pod, count, run
        self.port = free_port()
        self.processes: list[BaseProcess] = []

    def start(self) -> list[BaseProcess]:
        self.processes = [self.start_one(index) for index in range(self.count)]
        return self.processes

    def start_one(self, index: int) -> BaseProcess:
        process = FORKS.Process(
            target=self._run, args=(self.arguments(index), self.environment(index), self.log(index))
        )
        process.start()
        return process

    def arguments(self, index: int) -> list[str]:
        self.pod.write_config()
        paths = {f.name: getattr(self.pod.paths, f.name) for f in fields(Paths)}
        paths["termination_log"] = self.termination_log(index)
        named = [f"--{name.replace('_', '-')}={path}" for name, path in paths.items()]
        return ["train", *named, "--mount-wait-seconds=0", "--peer-silence-seconds=20", "--peer-wait-seconds=100"]

    def environment(self, index: int, processes: int = 1) -> dict[str, str]:
        address = f"127.0.0.1:{self.port}"
        numbers = {ENV_NODES: self.count, ENV_PROCESSES: processes, ENV_POD_INDEX: index}
        return {ENV_MASTER: address, **{name: str(number) for name, number in numbers.items()}, "HF_HUB_OFFLINE": "1"}

    def termination_log(self, index: int) -> Path:
        return Path(self.pod.root / f"termination-log-{index}")

    def report(self, index: int) -> StageReport:
        return StageReport.model_validate_json(self.termination_log(index).read_text())

    def log(self, index: int) -> Path:
        return Path(self.pod.root / f"log-{index}")

    def end(self) -> list[int | None]:
        """Wait for all; return their exit codes."""
        for process in self.processes:
            process.join(DEADLINE_SECONDS)
        return [process.exitcode for process in self.processes]

    def finish(self) -> None:
        """Run all to their end."""
        self.start()
        assert self.end() == [0] * self.count, [self.log(n).read_text()[-3000:] for n in range(self.count)]

    def until_a_checkpoint(self) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not any(self.pod.paths.checkpoints.glob("checkpoint-*/manifest.json")):
            assert all(process.is_alive() for process in self.processes), self.log(0).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def pods(pod: Any, stage: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Pods]]:
    """A maker of train pods of a prepared run whose steps take four packs."""
    pod.config["spec"]["training"].update(batchSize=8, maxSequenceLength=160, epochs=6)
    assert stage("prepare") == 0
    monkeypatch.syspath_prepend(Path(__file__).parent)
    FORKS.set_forkserver_preload(["loraform_trainer.train.stage", "loraform_trainer.train.peers.distributed"])
    run = importlib.import_module("train_pod").run
    made: list[Pods] = []

    def make(count: int) -> Pods:
        made.append(Pods(pod, count, run))
        return made[-1]

    yield make
    for each in made:
        for process in each.processes:
            process.kill()
            process.join()


def taken(pod: Any) -> tuple[dict[str, torch.Tensor], bytes]:
    """The adapter's weights and its file; the workspace is then as `prepare` left it."""
    file = pod.paths.adapter / "adapter_model.safetensors"
    result = load_file(file), file.read_bytes()
    pod.paths.report(RunStage.TRAIN).unlink()
    for folder in (pod.paths.adapter, pod.paths.checkpoints):
        shutil.rmtree(folder)
    return result


def difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in theirs)


def equals_one(pods: Callable[[int], Pods], count: int) -> None:
    one, many = pods(1), pods(count)
    one.finish()
    report = one.report(0).train
    alone, _ = taken(one.pod)
    many.finish()
    shared = many.report(0)
    together, _ = taken(many.pod)
    assert shared.train.steps == report.steps
    assert shared.train.trained_tokens == report.trained_tokens
    found = difference(together, alone)
    print(f"{count} processes and one: weights differ by {found:.1e}")
    assert found <= TOLERANCE
    for index in range(1, count):
        said = many.report(index)
        assert (said.train, said.exit_code) == (None, ExitCode.OK)


def test_two_pods_train_what_one_does(pods: Callable[[int], Pods]) -> None:
    equals_one(pods, 2)


@pytest.mark.slow
def test_four_pods_train_what_one_does(pods: Callable[[int], Pods]) -> None:
    equals_one(pods, 4)


def test_a_lost_pod_and_a_stop_change_nothing(pods: Callable[[int], Pods]) -> None:
    """Killed in the middle, stopped in the middle: the adapter is that of the undisturbed run, bit for bit."""
    two = pods(2)
    two.finish()
    steps = two.report(0).train.steps
    _, undisturbed = taken(two.pod)

    for victim in (1, 0):
        _, survivor = two.start()[victim], two.processes[1 - victim]
        two.until_a_checkpoint()
        two.processes[victim].kill()
        began = time.monotonic()
        survivor.join(DEADLINE_SECONDS)
        assert survivor.exitcode == ExitCode.PEER_LOST
        assert time.monotonic() - began < 60
        assert two.report(1 - victim).exit_code is ExitCode.PEER_LOST
        two.finish()
        assert 0 < two.report(0).train.resumed_from_step < steps
        _, again = taken(two.pod)
        assert again == undisturbed

    two.start()
    two.until_a_checkpoint()
    os.kill(two.processes[1].pid or 0, signal.SIGTERM)  # as when one node is drained: all must stop at the same step
    assert two.end() == [ExitCode.SAVED_AND_STOPPED] * 2
    saved = [two.report(index).message for index in range(2)]
    assert saved[0] == saved[1]
    assert saved[0].startswith("asked to stop; saved at step ")
    two.finish()
    assert two.report(0).train.resumed_from_step == int(saved[0].rsplit(" ", 1)[1])
    assert taken(two.pod)[1] == undisturbed


def test_a_pod_that_comes_back_after_the_end_sees_that_it_is_over(pods: Callable[[int], Pods]) -> None:
    two = pods(2)
    two.finish()
    two.termination_log(1).unlink()
    two.processes = [two.start_one(1)]
    assert two.end() == [0]
    assert two.report(1).message == "rank 1 of 2; the report is that of rank 0"


def test_a_pod_with_two_processes_stops_them_both(pods: Callable[[int], Pods]) -> None:
    """The pod's first process starts one for each GPU, hands SIGTERM on and says what they said."""
    one = pods(1)
    environment = {**os.environ, **one.environment(0, processes=2), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "loraform_trainer", *one.arguments(0)]
    first = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(one.pod.paths.checkpoints.glob("checkpoint-*/manifest.json")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    _, log = first.communicate(timeout=DEADLINE_SECONDS)
    assert first.returncode == ExitCode.SAVED_AND_STOPPED, log
    assert one.report(0).message.startswith("asked to stop; saved at step ")
