"""The worker: what a call may take, and what becomes of the next call when one does not end well."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loraform_verifier.sandbox.isolation import MIB, IsolationError, Stopped, stoppable
from loraform_verifier.sandbox.worker import Exceeded, Worker, WorkExceededError, WorkFailedError, WorkLimits

LIMITS = WorkLimits(seconds=0.2, memory=256 * MIB, waiting=100)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(LIMITS)
    yield worker
    worker.close()


def test_calls_share_one_process(worker: Worker) -> None:
    first = worker.call(os.getpid)
    assert worker.call(os.getpid) == first == worker.pid != os.getpid()


def test_a_call_that_raises_names_its_traceback_and_leaves_the_process(worker: Worker) -> None:
    first = worker.call(os.getpid)
    with pytest.raises(WorkFailedError, match=r"(?s)Traceback.*ValueError: invalid literal for int"):
        worker.call(int, "x")
    assert worker.call(os.getpid) == first


def test_an_error_of_the_machine_is_raised_as_it_is(worker: Worker) -> None:
    with pytest.raises(FileNotFoundError):
        worker.call(Path.read_text, Path("/nonexistent"))


@pytest.mark.parametrize("pattern", [r"(?:a+)+b", r"(?:a|a)+b"])
def test_a_call_beyond_its_time_is_stopped_even_in_c_code(worker: Worker, pattern: str) -> None:
    with pytest.raises(WorkExceededError) as raised:
        worker.call(re.match, pattern, "a" * 60)
    assert raised.value.limit is Exceeded.TIME
    assert worker.call(abs, -1) == 1


def test_time_is_counted_for_each_call(worker: Worker) -> None:
    for _ in range(4):
        worker.call(sum, range(2_000_000))  # about 50 ms


def test_a_call_beyond_its_memory_is_stopped(worker: Worker) -> None:
    first = worker.call(os.getpid)
    with pytest.raises(WorkExceededError) as raised:
        worker.call(bytes, 300 * MIB)
    assert raised.value.limit is Exceeded.MEMORY
    assert worker.call(os.getpid) != first  # what is left of the first is in pieces


def test_a_call_that_nobody_waits_for_any_more_is_ended() -> None:
    worker, stop = Worker(WorkLimits(seconds=60)), threading.Event()

    def call() -> None:
        with stoppable(stop):
            worker.call(signal.pause)

    try:
        worker.start()
        first = worker.pid
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(call)
            stop.set()
            with pytest.raises(Stopped):
                waiting.result(10)
        assert worker.pid is None
        assert worker.call(os.getpid) != first
    finally:
        worker.close()


def test_a_call_that_waits_for_nothing_is_stopped() -> None:
    worker = Worker(WorkLimits(seconds=0.2, waiting=5))
    try:
        with pytest.raises(WorkExceededError) as raised:
            worker.call(signal.pause)
        assert raised.value.limit is Exceeded.TIME
        assert worker.call(abs, -1) == 1
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("kind", "error"),
    [(signal.SIGSEGV, WorkFailedError), (signal.SIGKILL, WorkExceededError), (signal.SIGABRT, WorkExceededError)],
)
def test_a_call_that_kills_its_process_is_told_and_the_next_gets_another(
    worker: Worker, kind: signal.Signals, error: type[Exception]
) -> None:
    worker.call(abs, -1)
    with pytest.raises(error):
        worker.call(signal.raise_signal, kind)
    assert worker.call(abs, -1) == 1


def test_a_process_that_dies_between_calls_is_replaced(worker: Worker) -> None:
    first = worker.call(os.getpid)
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
    assert worker.call(os.getpid) != first


def test_threads_get_their_own_answers(worker: Worker) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda n: worker.call(abs, -n), range(200))) == list(range(200))


def test_a_process_that_cannot_start_is_an_error_of_the_machine() -> None:
    with pytest.raises(IsolationError, match="did not start"):
        Worker(modules=("no_such_module",)).call(abs, -1)


def test_the_process_ends_with_its_parent() -> None:
    worker = Worker(LIMITS)
    pid = worker.call(os.getpid)
    worker._connection.close()  # type: ignore[union-attr] # as the kernel does when the parent is killed
    waited = os.waitpid(pid, 0)
    assert waited == (pid, 0)
    worker._connection = worker._process = None
