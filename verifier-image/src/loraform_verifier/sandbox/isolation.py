"""Confined child processes: each runs under the launcher's restrictions, in a process group that is killed as a whole.

The caller gives the command, a private folder and the environment; the child inherits nothing else. Output goes to
unlinked files whose size the kernel bounds, so that it cannot fill memory.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Self

from loraform_verifier.sandbox import launcher

MIB = 1024 * 1024
PYTHON = (Path(sys.prefix), Path(sys.base_prefix))
"""Paths that a Python child reads."""
PREFIX = "lf-"
UNLOCKED_SECONDS = 10.0
"""Age up to which an unlocked folder is kept; locking follows its creation much sooner."""
STOP_SECONDS = 0.05
"""Longest time until a child that is to be stopped is killed."""
_PR_SET_DUMPABLE = 4
_STOP: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


class Stopped(RuntimeError):  # noqa: N818 - a state, like CancelledError
    """Nobody waits for the result any more, so the child was killed or not started."""


class IsolationError(RuntimeError):
    """The child could not be confined, so it was not run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of each process, by the kernel's names; a provider that terraform starts has its own."""

    cpu: int = 600
    """Seconds of processor time."""
    data: int = 1024 * MIB
    """Bytes of private writable memory; terraform and the AWS provider need a quarter of it each. The kernel does not
    check when writable pages replace reserved ones, which is how Go grows, so one step may exceed it."""
    address_space: int = 3 * 1024 * MIB
    """Bytes mapped in all; bounds that step. Go reserves nearly 2 GiB without using it. The verifier and all children
    together must fit the pod's memory limit, beyond which the kernel kills the whole container."""
    fsize: int = 32 * MIB
    """Bytes of one written file, including standard output and error."""
    nofile: int = 1024
    nproc: int = 512
    """Threads beyond those of this user in this container. The kernel counts the user's threads on the whole node, so
    this number includes other verifiers on the node, with some dozens of threads each."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished child process and its output."""

    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    flooded: bool = False
    """True if it tried to write more than `Limits.fsize`."""

    @property
    def output_tail(self) -> str:
        """The end of its output, on one line."""
        return " ".join((self.stderr or self.stdout)[-300:].decode(errors="replace").split())


class Child:
    """A confined process and its process group; a context manager that kills both."""

    def __init__(  # noqa: PLR0913 - each is known only to the caller
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        readable: Sequence[Path] = (),
        limits: Limits = Limits(),
        stdout: BinaryIO | int = subprocess.DEVNULL,
        stderr: BinaryIO | int = subprocess.DEVNULL,
        filtered: bool = True,
    ) -> None:
        """Start `command` (an absolute path first).

        It may read and execute its own file, the system's folders and `readable`, and read and write `cwd`.
        `filtered=False` omits the system call filter, for the test that shows the filter's effect.
        Raises IsolationError if the limits or the filter cannot be set or the command is not executable.
        """
        restrictions = {
            "filter": filtered,
            "landlock": landlock(),
            "readable": [*map(str, readable)],
            "writable": [str(cwd)],
        }
        settings = json.dumps(restrictions | {"limits": asdict(limits)})
        status_reader, status_writer = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", launcher.__file__, str(status_writer), settings, *command],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(status_writer,),
                start_new_session=True,
            )
        except BaseException:
            os.close(status_reader)
            raise
        finally:
            os.close(status_writer)
        with open(status_reader, "rb") as pipe:  # noqa: PTH123 - a descriptor, not a path
            failure = pipe.read()
        if failure:
            self.kill()
            raise IsolationError(f"cannot confine {command[0]}: {failure.decode(errors='replace')}")

    def wait(self, seconds: float) -> bool:
        """Return whether the process ended within `seconds`. It stays unreaped, so its group id cannot be reused."""
        descriptor = os.pidfd_open(self.process.pid)
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            return bool(poller.poll(max(0, int(seconds * 1000))))
        finally:
            os.close(descriptor)

    def kill(self) -> int:
        """Kill the process group, reap its processes, and return the exit status."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        returncode = self.process.wait()
        with suppress(ChildProcessError):  # orphans of the group become our children if we are init or a subreaper
            while True:
                os.waitpid(-self.process.pid, 0)
        return returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def raise_if_stopped() -> None:
    """Raise Stopped in a block of `stoppable` that is to end."""
    stop = _STOP.get()
    if stop is not None and stop.is_set():
        raise Stopped


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """Let another thread end what the block waits for, children and calls of a worker: they raise Stopped."""
    token = _STOP.set(stop)
    try:
        yield
    finally:
        _STOP.reset(token)


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    seconds: float,
    readable: Sequence[Path] = (),
    limits: Limits = Limits(),
    filtered: bool = True,
) -> Finished:
    """Run `command` for at most `seconds`, then kill its group; see Child for the other parameters.

    Raises Stopped in a block of `stoppable`.
    """
    raise_if_stopped()
    stop = _STOP.get()
    with tempfile.TemporaryFile(dir=cwd) as out, tempfile.TemporaryFile(dir=cwd) as err:
        with Child(
            command, cwd=cwd, env=env, readable=readable, limits=limits, stdout=out, stderr=err, filtered=filtered
        ) as started:
            ended = started.wait(seconds) if stop is None else _wait(started, seconds, stop)
            returncode = started.kill()
        stdout, stderr = (_contents(file) for file in (out, err))
    flooded = max(len(stdout), len(stderr)) >= limits.fsize
    return Finished(returncode, stdout, stderr, timed_out=not ended, flooded=flooded)


def _wait(child: Child, seconds: float, stop: threading.Event) -> bool:
    """Wait as `Child.wait`; raises Stopped soon after `stop` is set."""
    until = time.monotonic() + seconds
    while not child.wait(min(STOP_SECONDS, max(0.0, until - time.monotonic()))):
        if stop.is_set():
            raise Stopped
        if time.monotonic() >= until:
            return False
    return True


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a folder for one run. Its name is short: the path of a provider's socket in it has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # marks it as in use; the kernel unlocks it if this process dies
        try:
            yield Path(name)
        finally:
            os.close(descriptor)


def remove_leftovers() -> None:
    """Remove the folders of runs whose verifier was killed; folders of live verifiers are locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # owned by another user, in use, or gone
            if time.time() - folder.stat().st_mtime < UNLOCKED_SECONDS:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def make_undumpable() -> None:
    """Deny other processes of this user, including children, access to this process in `/proc`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


@cache
def landlock() -> int:
    """Return the Landlock ABI version that confines children; 0, with a warning, if the kernel has none."""
    abi = launcher.landlock_abi()
    if not abi:
        logging.getLogger(__name__).warning(
            "this kernel offers no Landlock: children can read what this user can read; all other restrictions apply"
        )
    return abi


def _contents(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
