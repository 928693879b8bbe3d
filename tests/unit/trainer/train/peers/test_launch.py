"""The rank that a pod's environment describes, and the process whose exit code is the pod's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from loraform_api.names import PORT_RENDEZVOUS
from loraform_trainer.runtime.errors import InvalidConfigError
from loraform_trainer.train.peers.launch import SINGLE_PROCESS, ProcessRank, container_exit_code, find_cause, read_rank


def test_an_environment_without_ranks_is_a_single_process() -> None:
    assert read_rank({}) == SINGLE_PROCESS
    assert read_rank({"LORAFORM_NODES": "1", "LORAFORM_PROCESSES": "1", "LORAFORM_MASTER": "x"}) == SINGLE_PROCESS
    assert (SINGLE_PROCESS.rank, SINGLE_PROCESS.size, SINGLE_PROCESS.local_rank) == (0, 1, 0)


def test_a_pod_of_one_process_is_one_rank() -> None:
    pod = {"LORAFORM_NODES": "4", "JOB_COMPLETION_INDEX": "2", "LORAFORM_MASTER": "job-nodes-0.job-nodes"}
    assert read_rank(pod) == ProcessRank(2, 4, 0, 1, "job-nodes-0.job-nodes", PORT_RENDEZVOUS)
    assert read_rank({**pod, "LORAFORM_MASTER": "127.0.0.1:1234"}).port == 1234


def test_ranks_are_numbered_pod_by_pod() -> None:
    pod = {"LORAFORM_NODES": "2", "LORAFORM_PROCESSES": "4", "JOB_COMPLETION_INDEX": "1", "LORAFORM_MASTER": "m"}
    ranks = [read_rank({**pod, "LORAFORM_LOCAL_RANK": str(n)}) for n in range(4)]
    assert [(p.rank, p.local_rank, p.size) for p in ranks] == [(4, 0, 8), (5, 1, 8), (6, 2, 8), (7, 3, 8)]


def test_the_first_process_of_a_pod_with_several_is_the_supervisor() -> None:
    assert read_rank({"LORAFORM_PROCESSES": "2"}).local_rank is None
    assert read_rank({"LORAFORM_PROCESSES": "2"}).size == 2


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ({"LORAFORM_NODES": "2"}, "JOB_COMPLETION_INDEX: None is not a number"),
        ({"LORAFORM_NODES": "two"}, "LORAFORM_NODES: 'two' is not a number"),
        ({"LORAFORM_NODES": "2", "JOB_COMPLETION_INDEX": "2"}, "pod 2 of 2"),
        ({"LORAFORM_PROCESSES": "2", "LORAFORM_LOCAL_RANK": "2"}, "process 2 of 2"),
    ],
)
def test_an_invalid_rank_is_refused(pod: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidConfigError, match=said):
        read_rank(pod)


@pytest.mark.parametrize(
    ("ended", "chosen"),
    [
        ({0: 0, 1: 0}, 0),
        ({1: 86, 0: 83}, 0),  # what ran out of memory says why, however late it ended
        ({0: 86, 1: -9}, 1),
        ({1: 85, 0: 85}, 1),
        ({1: 86, 0: 85}, 0),
        ({0: 0, 1: 70}, 1),
    ],
)
def test_the_cause_is_the_first_process_that_failed_by_itself(ended: dict[int, int], chosen: int) -> None:
    assert find_cause(ended) == chosen


def test_a_killed_process_has_the_exit_code_of_a_container() -> None:
    killed = subprocess.Popen([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
    assert container_exit_code(killed.wait()) == 137
    assert container_exit_code(85) == 85
