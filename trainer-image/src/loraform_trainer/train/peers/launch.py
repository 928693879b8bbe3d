"""The rank of a training process, and the supervisor of a train pod with several GPUs.

A pod with one process needs no supervisor: its exit code and signals are the process' own.
docs/adr/0004-train-pods-meet-without-torchrun.md says why this is not torchrun.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from loraform_api.failures import ExitCode
from loraform_api.names import ENV_MASTER, ENV_NODES, ENV_PROCESSES, PORT_RENDEZVOUS
from loraform_trainer.runtime.errors import InvalidConfigError

log = logging.getLogger(__name__)

ENV_POD_INDEX = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in the pods of an Indexed Job."""
ENV_LOCAL_RANK = "LORAFORM_LOCAL_RANK"
"""Set by `supervise` in each process of a pod."""
ENV_THREADS = "OMP_NUM_THREADS"
ENV_GPUS = "CUDA_VISIBLE_DEVICES"
"""Each process sees its own GPU only, so libraries that count GPUs count one."""
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """Identity of one training process; ranks are numbered pod by pod."""

    rank: int = 0
    size: int = 1
    local_rank: int | None = 0
    """Number of the process in its pod; None for the pod's first process, which only supervises the others."""
    processes: int = 1
    """Training processes of each pod."""
    host: str = "localhost"
    port: int = PORT_RENDEZVOUS
    """Host and port of rank 0's store."""

    @property
    def is_main(self) -> bool:
        """True for rank 0, which writes the stage's report."""
        return self.rank == 0


SINGLE_PROCESS = ProcessRank()


def read_rank(environment: Mapping[str, str]) -> ProcessRank:
    """Return the rank that the pod's environment describes; SINGLE_PROCESS for a run of one process."""
    nodes, processes = _number(environment, ENV_NODES, 1), _number(environment, ENV_PROCESSES, 1)
    if nodes * processes == 1:
        return SINGLE_PROCESS
    index = _number(environment, ENV_POD_INDEX, 0 if nodes == 1 else None)
    local_rank = _number(environment, ENV_LOCAL_RANK, -1) if processes > 1 else 0
    if index >= nodes or local_rank >= processes:
        raise InvalidConfigError(
            f"pod {index} of {nodes}, process {local_rank} of {processes}: there is no such process; "
            "the numbers start at 0"
        )
    host, _, port = environment.get(ENV_MASTER, SINGLE_PROCESS.host).partition(":")
    return ProcessRank(
        rank=index * processes + max(0, local_rank),
        size=nodes * processes,
        local_rank=local_rank if local_rank >= 0 else None,
        processes=processes,
        host=host,
        port=int(port) if port else PORT_RENDEZVOUS,
    )


def _number(environment: Mapping[str, str], name: str, default: int | None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise InvalidConfigError(f"{name}: {text!r} is not a number; the pod's Job sets it")
    return int(text)


def supervise(arguments: Sequence[str], processes: int, termination_log: Path, grace_seconds: float) -> int:
    """Run this program once for each GPU of the pod; return the exit code of the process that failed first by itself.

    `arguments` are the program's own. SIGTERM is forwarded to every process. Processes that still run `grace_seconds`
    after the first failure are killed.
    """
    # children start with SIGTERM blocked: without a handler it would kill them
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with tempfile.TemporaryDirectory(prefix="loraform-train-") as folder:
        logs = [Path(folder) / f"termination-log-{number}" for number in range(processes)]
        children = [_start([*arguments, f"--termination-log={logs[n]}"], n, processes) for n in range(processes)]

        def forward(number: int, frame: FrameType | None) -> None:
            for child in children:
                child.send_signal(number)

        signal.signal(signal.SIGTERM, forward)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        exit_codes = _wait(children, grace_seconds)
        cause = find_cause(exit_codes)
        if logs[cause].is_file():
            shutil.copyfile(logs[cause], termination_log)
    return container_exit_code(exit_codes[cause])


def _start(arguments: Sequence[str], local_rank: int, processes: int) -> subprocess.Popen[bytes]:
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    gpus = (os.environ.get(ENV_GPUS) or ",".join(str(gpu) for gpu in range(processes))).split(",")
    own = {ENV_LOCAL_RANK: str(local_rank), ENV_GPUS: gpus[local_rank % len(gpus)]}
    environment = {ENV_THREADS: str(threads), **os.environ, **own}
    return subprocess.Popen([sys.executable, "-m", "loraform_trainer", *arguments], env=environment)


def _wait(children: Sequence[subprocess.Popen[bytes]], grace_seconds: float) -> dict[int, int]:
    """Return the exit codes of all children by number, in the order in which the children ended."""
    exit_codes: dict[int, int] = {}
    deadline = None
    while True:
        for number, child in enumerate(children):
            if number not in exit_codes and (code := child.poll()) is not None:
                exit_codes[number] = code
        if len(exit_codes) == len(children):
            return exit_codes
        if deadline is None and any(exit_codes.values()):
            deadline = time.monotonic() + grace_seconds
        if deadline is not None and time.monotonic() > deadline:
            log.error("killing the processes that still run %.0f s after another process failed", grace_seconds)
            for number, child in enumerate(children):
                if number not in exit_codes:
                    child.kill()
                    child.wait()
                    exit_codes[number] = ExitCode.PEER_LOST  # SIGKILL would read as the kernel's out-of-memory kill
        time.sleep(POLL_SECONDS)


def find_cause(exit_codes: Mapping[int, int]) -> int:
    """Return the number of the process whose exit code is the pod's; `exit_codes` are in order of ending.

    It is the first process that failed by itself; else the first that stopped on request; else the first that lost a
    peer; else process 0.
    """
    failed = [number for number, code in exit_codes.items() if code != 0]
    without_lost_peer = [number for number in failed if exit_codes[number] != ExitCode.PEER_LOST]
    own_failure = [number for number in without_lost_peer if exit_codes[number] != ExitCode.SAVED_AND_STOPPED]
    return [*own_failure, *without_lost_peer, *failed, 0][0]


def container_exit_code(returncode: int) -> int:
    """Return `Popen.returncode` as a container reports it: 128 plus the number of the signal that killed it."""
    return returncode if returncode >= 0 else 128 - returncode
