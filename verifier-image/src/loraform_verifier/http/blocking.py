"""Asks a verifier service from code that has no event loop, by the standard library alone.

aiohttp, which `client` needs for many questions at once, takes longer to import than all that stage `prepare` does when
its rows are in the cache.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from pydantic import ValidationError

from loraform_api.verification import VerifyRequest, VerifyResponse

HEALTH_SECONDS = 5.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""It asks the environment for no proxy: the verifier is in the same pod."""
_TROUBLE = (OSError, http.client.HTTPException)


class VerifierUnavailable(ConnectionError):  # noqa: N818 - a state of the world, like ConnectionRefused
    """The service cannot be reached, is busy or did not answer in time; trying again may help."""


class VerifierRefused(ValueError):  # noqa: N818 - named for what happened
    """The service refuses the request as it is; the message is the service's own."""


def read(url: str, status: int, body: bytes) -> VerifyResponse:
    """Return the verdicts in an answer of the service at `url`. Raises VerifierUnavailable or VerifierRefused."""
    text = body.decode("utf-8", errors="replace")
    if status != 200:
        kind = VerifierUnavailable if status >= 500 else VerifierRefused
        raise kind(f"verifier at {url} answered {status}: {text[:300]}")
    try:
        return VerifyResponse.model_validate_json(text)
    except ValidationError as error:
        raise VerifierUnavailable(f"verifier at {url} gave no verdict: {text[:100]!r}") from error


def verify(url: str, request: VerifyRequest, *, seconds: float = 1800) -> VerifyResponse:
    """Verify programs; a silence of `seconds` ends it. Raises VerifierUnavailable or VerifierRefused."""
    body, headers = request.model_dump_json(by_alias=True).encode(), {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"{url}/v1/verify", body, headers)  # noqa: S310 (our own sidecar)
    try:
        with _OPENER.open(asked, timeout=seconds) as answer:
            return read(url, answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return read(url, error.code, error.read())
    except _TROUBLE as error:
        raise VerifierUnavailable(f"verifier at {url}: {type(error).__name__}: {error}") from error


def healthy(url: str) -> bool:
    """Say whether the service answers its health check."""
    try:
        with _OPENER.open(f"{url}/healthz", timeout=HEALTH_SECONDS):
            return True
    except _TROUBLE:
        return False
