"""The process of `sandbox.worker`: it lowers its limits, then answers calls until the other end is closed.

It runs as `python -m loraform_verifier.sandbox.worker_process FD SECONDS BYTES MODULE…`. The kernel ends it when a
call takes more processor time, whatever it is at; an allocation beyond the limit fails.
"""

from __future__ import annotations

import gc
import importlib
import pickle
import resource
import signal
import sys
import traceback
from multiprocessing.connection import Connection

from loraform_verifier.sandbox.isolation import make_undumpable

RETURNED, MACHINE_ERROR, NO_MEMORY, FAILED = "returned", "machine error", "no memory", "failed"
READY = b"ready"
LAST = b"last"
"""Begins an answer after which the process ends. A pickle begins otherwise."""
OUT_OF_TIME = (signal.SIGPROF, signal.SIGXCPU)
OUT_OF_MEMORY = (signal.SIGABRT, signal.SIGKILL)
"""The grammar aborts if it gets no memory; the kernel kills if the container has none."""


def serve(calls: Connection, seconds: float) -> None:
    """Answer calls, each within `seconds` of processor time, until the connection is closed."""
    while True:
        try:
            message = calls.recv_bytes()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _answer(message)
        signal.setitimer(signal.ITIMER_PROF, 0)
        calls.send_bytes(answer)
        if answer.startswith(LAST):
            return


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def _answer(message: bytes) -> bytes:
    try:
        function, arguments, named = pickle.loads(message)  # noqa: S301 - from our own parent
        return pickle.dumps((RETURNED, function(*arguments, **named)))
    except MemoryError:
        # What the call leaves behind may be in pieces, so the next one gets a new process.
        return LAST + pickle.dumps((NO_MEMORY, None))
    except OSError as error:
        return pickle.dumps((MACHINE_ERROR, error))
    except Exception:
        return pickle.dumps((FAILED, traceback.format_exc()))


def main(descriptor: int, seconds: float, memory: int, modules: list[str]) -> None:
    """Serve on an inherited descriptor with at most `memory` bytes of private writable memory; load `modules` first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the parent too, which then ends this process
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, memory)
    if sys.platform == "linux":
        make_undumpable()
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # so that no collection looks at what is loaded
    with Connection(descriptor) as calls:
        calls.send_bytes(READY)
        serve(calls, seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
