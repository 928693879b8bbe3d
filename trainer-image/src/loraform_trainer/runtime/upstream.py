"""Turns the errors of engine and verifier into the stage errors that decide a run's exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loraform_engine.errors import EngineRefused, EngineUnreachable, NotServable
from loraform_trainer.runtime.errors import AdapterNotServableError, StageError, TransientError
from loraform_verifier.http.blocking import VerifierRefused, VerifierUnavailable


@contextmanager
def upstream_errors() -> Iterator[None]:
    """Raise errors of engine and verifier as StageError."""
    try:
        yield
    except NotServable as error:
        raise AdapterNotServableError(str(error)) from error
    except (EngineUnreachable, VerifierUnavailable) as error:
        raise TransientError(str(error)) from error
    except (EngineRefused, VerifierRefused) as error:
        raise StageError(str(error)) from error
