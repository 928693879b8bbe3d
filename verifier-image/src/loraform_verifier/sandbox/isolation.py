"""Runs hostile work: each child under the launcher's walls and limits, in a process group that dies as a whole.

The caller gives the command, a private folder and an environment; nothing else of ours reaches the child. Output
goes to unlinked files whose size the kernel bounds, so that a flood of it cannot fill memory.
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
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Self

from loraform_verifier.sandbox import launcher

MIB = 1024 * 1024
PYTHON = (Path(sys.prefix), Path(sys.base_prefix))
"""What a child that is Python reads."""
PREFIX = "lf-"
UNLOCKED_SECONDS = 10.0
"""What lies between making a folder and locking it takes far less."""
_PR_SET_DUMPABLE = 4


class IsolationError(RuntimeError):
    """The child could not be confined, so it was not run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use, by the kernel's names; the provider a terraform starts has each limit for itself."""

    cpu: int = 600
    """Seconds of processor time."""
    data: int = 1024 * MIB
    """Bytes of private writable memory; terraform and the AWS provider need a quarter of it each. The kernel does not
    look when writable pages take the place of reserved ones, which is how Go grows, so one step may go beyond."""
    address_space: int = 3 * 1024 * MIB
    """Bytes mapped in all; bounds that last step. Go reserves nearly 2 GiB without using them. Together with the
    verifier all children must fit the pod's limit, beyond which the kernel kills the whole container."""
    fsize: int = 32 * MIB
    """Bytes of one written file, standard output and error among them."""
    nofile: int = 1024
    nproc: int = 512
    """Threads beyond those that this user is seen to have. The kernel counts the user's threads on the whole node, a
    container sees its own alone: other verifiers of the node are in this number too, some dozens of threads each."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended."""

    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    flooded: bool = False
    """It tried to write more than `Limits.fsize`."""

    @property
    def said(self) -> str:
        """The end of what it said, on one line."""
        return " ".join((self.stderr or self.stdout)[-300:].decode(errors="replace").split())


class Child:
    """A confined process and its group; a context manager that leaves nothing running."""

    def __init__(  # noqa: PLR0913 - each is one thing that the caller alone knows
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

        It can read and execute itself, what lies in the system's folders and in `readable`; read and write in `cwd`.
        `filtered=False` leaves the system call filter out; only the test that proves the filter's worth asks for it.
        Raises IsolationError when the limits or the filter could not be set or the command is not executable.
        """
        walls = {"filter": filtered, "landlock": landlock(), "readable": [*map(str, readable)], "writable": [str(cwd)]}
        settings = json.dumps(walls | {"limits": asdict(limits)})
        told, tell = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", launcher.__file__, str(tell), settings, *command],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(tell,),
                start_new_session=True,
            )
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(tell)
        with open(told, "rb") as pipe:  # noqa: PTH123 - a descriptor, not a path
            complaint = pipe.read()
        if complaint:
            self.kill()
            raise IsolationError(f"cannot confine {command[0]}: {complaint.decode(errors='replace')}")

    def wait(self, seconds: float) -> bool:
        """Say whether the process ended within `seconds`. It stays unreaped, so its group id cannot be reused."""
        descriptor = os.pidfd_open(self.process.pid)
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            return bool(poller.poll(max(0, int(seconds * 1000))))
        finally:
            os.close(descriptor)

    def kill(self) -> int:
        """Kill the whole group, reap what is ours, and return the process's exit status."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        returncode = self.process.wait()
        with suppress(ChildProcessError):  # orphans of the group come to us when we are init or a subreaper
            while True:
                os.waitpid(-self.process.pid, 0)
        return returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


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
    """Run `command` for at most `seconds`, then kill its group; see Child for the rest."""
    with tempfile.TemporaryFile(dir=cwd) as out, tempfile.TemporaryFile(dir=cwd) as err:
        with Child(
            command, cwd=cwd, env=env, readable=readable, limits=limits, stdout=out, stderr=err, filtered=filtered
        ) as started:
            ended = started.wait(seconds)
            returncode = started.kill()
        stdout, stderr = (_contents(file) for file in (out, err))
    flooded = max(len(stdout), len(stderr)) >= limits.fsize
    return Finished(returncode, stdout, stderr, timed_out=not ended, flooded=flooded)


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a folder for one run. A provider's socket lies in it and its path has at most 107 bytes: a short name."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        held = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_SH)  # says that its owner lives: the kernel lets go when that one dies
        try:
            yield Path(name)
        finally:
            os.close(held)


def remove_leftovers() -> None:
    """Remove the folders of runs whose verifier was killed; those of one that lives are locked, once they are made."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is another user's, in use, or gone
            if time.time() - folder.stat().st_mtime < UNLOCKED_SECONDS:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


def make_undumpable() -> None:
    """Close this process's memory, environment and descriptors in `/proc` to others of its user, children too."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


@cache
def landlock() -> int:
    """Return the version of Landlock by which children are kept from files, 0 for none; that is logged once."""
    abi = launcher.landlock_abi()
    if not abi:
        logging.getLogger(__name__).warning(
            "this kernel offers no Landlock: terraform's children can read what this user can; the other walls stand"
        )
    return abi


def _contents(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
