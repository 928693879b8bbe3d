"""Calls of the verifier's own checks within limits; a program that exceeds them has no verdict, and stops no other."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

from loraform_api.verification import Diagnostic, Program
from loraform_verifier.sandbox.isolation import MIB, raise_if_stopped
from loraform_verifier.sandbox.worker import Exceeded, Worker, WorkExceededError, WorkFailedError, WorkLimits
from loraform_verifier.stages import own_checks

LOG = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


class UndecidedError(Exception):
    """The verifier's own code has no verdict on a program; `diagnostic` says why."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class OwnChecks:
    """Calls checks of programs in a worker."""

    def __init__(self, worker: Worker | None = None) -> None:
        """Without `worker`, that of this process is used."""
        self._worker = worker or shared_worker()

    def call(self, program: Program, check: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Return what `check` returns. Raises UndecidedError, OSError of the machine, IsolationError and Stopped."""
        raise_if_stopped()
        try:
            return self._worker.call(check, *arguments, **named)
        except WorkExceededError as error:
            LOG.warning("%s of program %r exceeded its %s", check.__name__, program.id, error.limit)
            raise UndecidedError(_exceeded(error.limit, self._worker.limits)) from error
        except WorkFailedError as error:
            LOG.error("the verifier failed in %s of program %r: %s", check.__name__, program.id, error)
            raise UndecidedError(internal_error()) from error


def internal_error() -> Diagnostic:
    """Return the finding on a program in which the verifier's own code failed."""
    message = "The verifier failed on this program with an internal error; its log has the traceback."
    return Diagnostic(code="InternalError", message=message)


def _exceeded(limit: Exceeded, limits: WorkLimits) -> Diagnostic:
    allowed = {
        Exceeded.TIME: f"{limits.seconds:g} s of processor time",
        Exceeded.MEMORY: f"{limits.memory // MIB} MiB of memory",
    }
    message = f"A check of this program was stopped: it took more than {allowed[limit]}."
    return Diagnostic(code="Timeout", message=message, hint="Split the program, or shorten its expressions and values.")


@cache
def shared_worker() -> Worker:
    """Return the worker of this process."""
    worker = Worker(modules=(own_checks.__name__,))
    atexit.register(worker.close)
    return worker
