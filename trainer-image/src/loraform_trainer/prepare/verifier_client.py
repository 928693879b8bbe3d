"""Blocking client of the verifier container of stage `prepare`."""

from __future__ import annotations

from loraform_api.verification import VerifyRequest, VerifyResponse
from loraform_trainer.runtime import mounts
from loraform_trainer.runtime.errors import StageError, TransientError
from loraform_verifier.http import blocking
from loraform_verifier.http.blocking import VerifierRefused, VerifierUnavailable


def wait_for(url: str, seconds: float) -> None:
    """Block until the verifier at `url` is healthy; raises TransientError after `seconds`."""
    timed_out = f"the verifier was not ready after {seconds:.0f} s; look at its container's log"
    mounts.wait_for(lambda: blocking.healthy(url) or None, timed_out, seconds, TransientError)


def verify(url: str, request: VerifyRequest) -> VerifyResponse:
    """Return the verifier's response; raises StageError for a refused request, TransientError for no response."""
    try:
        return blocking.verify(url, request)
    except VerifierUnavailable as error:
        raise TransientError(str(error)) from error
    except VerifierRefused as error:
        raise StageError(str(error)) from error
