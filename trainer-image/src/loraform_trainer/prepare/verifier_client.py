"""The verifier beside stage `prepare`, asked without an event loop."""

from __future__ import annotations

from loraform_api.verification import VerifyRequest, VerifyResponse
from loraform_trainer.runtime import mounts
from loraform_trainer.runtime.errors import StageError, TransientError
from loraform_verifier.http import blocking
from loraform_verifier.http.blocking import VerifierRefused, VerifierUnavailable


def wait_for(url: str, seconds: float) -> None:
    """Return once the verifier at `url` is healthy; raises TransientError after `seconds`."""
    late = f"the verifier was not ready after {seconds:.0f} s; look at its container's log"
    mounts.wait_for(lambda: blocking.healthy(url) or None, late, seconds, TransientError)


def verify(url: str, request: VerifyRequest) -> VerifyResponse:
    """Return the verdicts; raises StageError when the request is refused, and TransientError when nobody answers."""
    try:
        return blocking.verify(url, request)
    except VerifierUnavailable as error:
        raise TransientError(str(error)) from error
    except VerifierRefused as error:
        raise StageError(str(error)) from error
