"""Which training process this is among those of all train pods, and the processes of a pod that has several GPUs.

A pod with one process is that process: what it exits with and which signals it gets need no go-between. Why this is
not torchrun is told in docs/adr/0004-train-pods-meet-without-torchrun.md.
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
"""Each process sees its own GPU only: whatever counts GPUs finds one."""
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """A process among all of a run: ranks count through the pods, then through the processes of each."""

    rank: int = 0
    size: int = 1
    local: int | None = 0
    """Number of the process in its pod; None for the pod's first process, which only starts and watches the others."""
    processes: int = 1
    """Training processes of each pod."""
    host: str = "localhost"
    port: int = PORT_RENDEZVOUS
    """Where rank 0 is met."""


LONE = Place()


def place(environment: Mapping[str, str]) -> Place:
    """Return the place that the pod's environment describes; LONE where it describes none."""
    nodes, processes = _number(environment, ENV_NODES, 1), _number(environment, ENV_PROCESSES, 1)
    if nodes * processes == 1:
        return LONE
    index = _number(environment, ENV_POD_INDEX, 0 if nodes == 1 else None)
    local = _number(environment, ENV_LOCAL_RANK, -1) if processes > 1 else 0
    if index >= nodes or local >= processes:
        raise InvalidConfigError(f"pod {index} of {nodes}, process {local} of {processes}: there is no such process")
    host, _, port = environment.get(ENV_MASTER, LONE.host).partition(":")
    return Place(
        rank=index * processes + max(0, local),
        size=nodes * processes,
        local=local if local >= 0 else None,
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


def supervise(arguments: Sequence[str], processes: int, termination_log: Path, patience: float) -> int:
    """Run this program once for each GPU of the pod; return the exit code of the process that says why it ended.

    `arguments` are the program's own; SIGTERM reaches every process. What remains `patience` seconds after the first
    failure is killed.
    """
    # a child must not die of a SIGTERM that comes before its handler is there: it starts with the signal held back
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with tempfile.TemporaryDirectory(prefix="loraform-train-") as folder:
        logs = [Path(folder) / f"termination-log-{local}" for local in range(processes)]
        children = [_start([*arguments, f"--termination-log={logs[n]}"], n, processes) for n in range(processes)]

        def forward(number: int, frame: FrameType | None) -> None:
            for child in children:
                child.send_signal(number)

        signal.signal(signal.SIGTERM, forward)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        ended = _wait(children, patience)
        chosen = choose(ended)
        if logs[chosen].is_file():
            shutil.copyfile(logs[chosen], termination_log)
    return exit_code(ended[chosen])


def _start(arguments: Sequence[str], local: int, processes: int) -> subprocess.Popen[bytes]:
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    visible = os.environ.get(ENV_GPUS) or ",".join(str(gpu) for gpu in range(processes))
    own = {ENV_LOCAL_RANK: str(local), ENV_GPUS: visible.split(",")[local % len(visible.split(","))]}
    environment = {ENV_THREADS: str(threads), **os.environ, **own}
    return subprocess.Popen([sys.executable, "-m", "loraform_trainer", *arguments], env=environment)


def _wait(children: Sequence[subprocess.Popen[bytes]], patience: float) -> dict[int, int]:
    """Return, when all have ended, their exit codes by number, in the order in which they came."""
    ended: dict[int, int] = {}
    deadline = None
    while True:
        for number, child in enumerate(children):
            if number not in ended and (code := child.poll()) is not None:
                ended[number] = code
        if len(ended) == len(children):
            return ended
        if deadline is None and any(ended.values()):
            deadline = time.monotonic() + patience
        if deadline is not None and time.monotonic() > deadline:
            log.error("killing the processes that go on %.0f s after another failed", patience)
            for number, child in enumerate(children):
                if number not in ended:
                    child.kill()
                    child.wait()
                    ended[number] = ExitCode.PEER_LOST  # the signal is ours and says nothing of memory
        time.sleep(POLL_SECONDS)


def choose(ended: Mapping[int, int]) -> int:
    """Return which process says why the pod ended: the first that failed by itself, before any that stopped when asked,
    before any that lost another."""
    failed = [number for number, code in ended.items() if code != 0]
    told = [number for number in failed if ended[number] != ExitCode.PEER_LOST]
    own = [number for number in told if ended[number] != ExitCode.SAVED_AND_STOPPED]
    return [*own, *told, *failed, 0][0]


def exit_code(returned: int) -> int:
    """Return a process' exit code as a container shows it: 128 and the number of the signal that killed it."""
    return returned if returned >= 0 else 128 - returned
