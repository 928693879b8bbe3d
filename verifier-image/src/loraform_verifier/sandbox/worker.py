"""A process for the verifier's own work on hostile programs: what one call may take is bounded, and it may die.

A process, since a thread that is at work in the grammar or in a regular expression cannot be stopped, and since memory
is limited by process. It starts once and serves one call after the other; after a call that it did not survive, the
next call starts another.
"""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import connection
from typing import ParamSpec, TypeVar

from loraform_verifier.sandbox import worker_process
from loraform_verifier.sandbox.isolation import MIB, STOP_SECONDS, IsolationError, raise_if_stopped

P = ParamSpec("P")
R = TypeVar("R")

START_SECONDS = 60.0
"""Wall time in which the process starts; it takes half a second of processor time."""


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What one call may take; generous, since they guard against hostile programs, not slow ones."""

    seconds: float = 20
    """Processor time. The slowest check of the largest program takes about half of it, with a rewrite."""
    memory: int = 1024 * MIB
    """Bytes of private writable memory. The syntax trees of the largest program take up to 540 MB."""
    waiting: float = 20
    """Wall time, as a multiple of the processor time: other load takes longer, and a mirror's disk may hang."""


class Exceeded(StrEnum):
    """The limit that a call has exceeded."""

    TIME = "time"
    MEMORY = "memory"


class WorkExceededError(RuntimeError):
    """The call exceeded a limit and was stopped."""

    def __init__(self, limit: Exceeded) -> None:
        super().__init__(f"the call exceeded its {limit}")
        self.limit = limit


class WorkFailedError(RuntimeError):
    """The call raised an exception, or the process crashed; the message holds the traceback or the signal."""


class Worker:
    """One process for calls, and its successors. Threads may share it: their calls wait for each other."""

    def __init__(self, limits: WorkLimits = WorkLimits(), modules: Sequence[str] = ()) -> None:
        """The process starts with the first call, and loads `modules` before it."""
        self.limits = limits
        self._modules = modules
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: connection.Connection | None = None

    def call(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Return what a function of a module returns in the process; it and its arguments are pickled.

        Raises WorkExceededError and WorkFailedError for the call, OSError where the function raises it,
        IsolationError if no process can be started, and Stopped in a block of `stoppable`.
        """
        message = pickle.dumps((function, arguments, named))
        with self._lock:
            answer = self._answer(message)
        kind, value = pickle.loads(answer)  # noqa: S301 - our own process, which runs no program
        match kind:
            case worker_process.RETURNED:
                return value  # type: ignore[no-any-return] # what the function returned
            case worker_process.MACHINE_ERROR:
                raise value
            case worker_process.NO_MEMORY:
                raise WorkExceededError(Exceeded.MEMORY)
            case _:
                raise WorkFailedError(value)

    def start(self) -> None:
        """Start the process, so that the first call does not wait for it. Raises IsolationError."""
        with self._lock:
            self._running()

    @property
    def pid(self) -> int | None:
        """Id of the process that serves; None before the first call and after one that it did not survive."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _answer(self, message: bytes) -> bytes:
        running = self._running()
        try:
            running.send_bytes(message)
            if not self._has_answered(running):
                self.close()
                raise WorkExceededError(Exceeded.TIME)
            answer = running.recv_bytes()
        except (EOFError, ConnectionError):
            raise self._lost() from None
        except BaseException:  # an interrupted call: its answer must not be taken for that of the next
            self.close()
            raise
        if answer.startswith(worker_process.LAST):
            self.close()
        return answer.removeprefix(worker_process.LAST)

    def _has_answered(self, running: connection.Connection) -> bool:
        """Wait for the answer; return whether it came in time."""
        until = time.monotonic() + self.limits.seconds * self.limits.waiting
        while not running.poll(STOP_SECONDS):
            raise_if_stopped()
            if time.monotonic() >= until:
                return False
        return True

    def _lost(self) -> WorkExceededError | WorkFailedError:
        """Return the error of a call that the process did not survive."""
        status = self._process.wait() if self._process else 0
        self.close()
        if -status in worker_process.OUT_OF_TIME:
            return WorkExceededError(Exceeded.TIME)
        if -status in worker_process.OUT_OF_MEMORY:
            return WorkExceededError(Exceeded.MEMORY)
        return WorkFailedError(f"the process of the call ended with status {status}")

    def _running(self) -> connection.Connection:
        """Return the connection to a process that waits for a call."""
        if self._process is not None and self._process.poll() is not None:  # the kernel killed it between two calls
            logging.getLogger(__name__).warning("the worker ended with status %d; it is replaced", self._process.wait())
            self.close()
        if self._connection is None:
            self._connection = self._started()
        return self._connection

    def _started(self) -> connection.Connection:
        ours, theirs = connection.Pipe()
        settings = [str(theirs.fileno()), str(self.limits.seconds), str(self.limits.memory), *self._modules]
        # `-P`: the current folder may hold anything, also modules with the names of ours.
        command = [sys.executable, "-P", "-m", worker_process.__name__, *settings]
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        try:
            if ours.poll(START_SECONDS) and ours.recv_bytes() == worker_process.READY:
                return ours
        except (EOFError, ConnectionError):
            pass
        self.close()
        ours.close()
        raise IsolationError("the worker process did not start; its error output says why")
