"""Many train pods on loopback, each a process: they end with the adapter of one, and survive the loss of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from loraform_api.failures import ExitCode
from loraform_api.names import ENV_MASTER, ENV_NODES, ENV_PROCESSES
from loraform_api.run import StageReport
from loraform_trainer.train.peers.launch import ENV_POD_INDEX

from ..waiting import free_port
from .conftest import Pod, new_pod, saved_step
from .forks import FORKS, Import

DEADLINE_SECONDS = 300
TOLERANCE = 1e-5
"""Largest difference of an adapter weight, by the largest of its matrix: sums over processes round otherwise."""


class Pods:
    """The train pods of one run: they share its workspace, as on a ReadWriteMany volume."""

    def __init__(self, pod: Pod, count: int, run: Any) -> None:
        self.pod, self.count, self._run = pod, count, run
        self.port = free_port()
        self.processes: list[BaseProcess] = []

    def __enter__(self) -> Pods:
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()

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
        words = self.pod.arguments("train", termination_log=self.termination_log(index))
        return [*words, "--mount-wait-seconds=0", "--peer-silence-seconds=20", "--peer-wait-seconds=100"]

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

    def saved(self) -> int:
        """Return the step of the newest sealed checkpoint."""
        return saved_step(self.pod.paths.checkpoints)

    def until_a_checkpoint(self) -> None:
        """Wait for a checkpoint that was not there."""
        newest, deadline = self.saved(), time.monotonic() + DEADLINE_SECONDS
        while self.saved() == newest:
            assert all(process.is_alive() for process in self.processes), self.log(0).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def adapter(self) -> Path:
        return self.pod.paths.adapter / "adapter_model.safetensors"


@pytest.fixture(scope="module")
def prepared(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Pod:
    """A prepared run whose steps take four packs."""
    pod = new_pod(tmp_path_factory.mktemp("prepared"), base_model)
    pod.config["spec"]["training"].update(batchSize=8, maxSequenceLength=160, epochs=6)
    assert pod.run("prepare") == 0
    return pod


@pytest.fixture(scope="module")
def run(forked: Import) -> Any:
    return forked("train_pod").run


@pytest.fixture(scope="module")
def undisturbed(prepared: Pod, run: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Two pods that have trained to the end; whoever changes anything of it copies it."""
    with Pods(prepared.copied_to(tmp_path_factory.mktemp("undisturbed")), 2, run) as pods:
        pods.finish()
        yield pods


def difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in theirs)


def equals_one(many: Pods, prepared: Pod, run: Any, folder: Path) -> None:
    with Pods(prepared.copied_to(folder), 1, run) as one:
        one.finish()
    report, shared = one.report(0).train, many.report(0).train
    assert report is not None
    assert shared is not None
    assert shared.steps == report.steps
    assert shared.trained_tokens == report.trained_tokens
    found = difference(load_file(many.adapter()), load_file(one.adapter()))
    print(f"{many.count} processes and one: weights differ by {found:.1e}")
    assert found <= TOLERANCE
    for index in range(1, many.count):
        said = many.report(index)
        assert (said.train, said.exit_code) == (None, ExitCode.OK)


def test_two_pods_train_what_one_does(undisturbed: Pods, prepared: Pod, run: Any, tmp_path: Path) -> None:
    equals_one(undisturbed, prepared, run, tmp_path)


@pytest.mark.slow
def test_four_pods_train_what_one_does(prepared: Pod, run: Any, tmp_path: Path) -> None:
    with Pods(prepared.copied_to(tmp_path / "four"), 4, run) as four:
        four.finish()
    equals_one(four, prepared, run, tmp_path / "one")


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_lost_pod_and_a_stop_change_nothing(
    undisturbed: Pods, prepared: Pod, run: Any, tmp_path: Path, victim: int
) -> None:
    """Killed in the middle, then stopped in the middle: the adapter is that of the undisturbed run, bit for bit."""
    with Pods(prepared.copied_to(tmp_path), 2, run) as two:
        survivor = two.start()[1 - victim]
        two.until_a_checkpoint()
        two.processes[victim].kill()
        began = time.monotonic()
        survivor.join(DEADLINE_SECONDS)
        assert survivor.exitcode == ExitCode.PEER_LOST
        assert time.monotonic() - began < 60
        assert two.report(1 - victim).exit_code is ExitCode.PEER_LOST
        lost_at = two.saved()

        two.start()
        two.until_a_checkpoint()
        os.kill(two.processes[1].pid or 0, signal.SIGTERM)  # as when a node is drained: all must stop at the same step
        assert two.end() == [ExitCode.SAVED_AND_STOPPED] * 2
        saved = [two.report(index).message for index in range(2)]
        assert saved[0] == saved[1]
        assert saved[0].startswith("stopped on request; saved at step ")
        assert two.report(0).resumed_from_step == lost_at > 0

        two.finish()
        done = two.report(0).train
        assert done is not None
        assert done.resumed_from_step == int(saved[0].rsplit(" ", 1)[1]) < done.steps
        assert two.adapter().read_bytes() == undisturbed.adapter().read_bytes()


def test_a_pod_that_comes_back_after_the_end_sees_that_it_is_over(undisturbed: Pods, run: Any, tmp_path: Path) -> None:
    with Pods(undisturbed.pod.copied_to(tmp_path), 2, run) as two:
        two.termination_log(1).unlink()
        two.processes = [two.start_one(1)]
        assert two.end() == [0]
        assert two.report(1).message == "rank 1 of 2; the report is that of rank 0"


def test_a_pod_with_two_processes_stops_them_both(prepared: Pod, run: Any, tmp_path: Path) -> None:
    """The pod's first process starts one for each GPU, hands SIGTERM on and says what they said."""
    one = Pods(prepared.copied_to(tmp_path), 1, run)
    environment = {**os.environ, **one.environment(0, processes=2), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "loraform_trainer", *one.arguments(0)]
    first = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not one.saved():
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    _, log = first.communicate(timeout=DEADLINE_SECONDS)
    assert first.returncode == ExitCode.SAVED_AND_STOPPED, log
    assert one.report(0).message.startswith("stopped on request; saved at step ")
