"""Blocking client of the verifier service, with the standard library only.

Importing aiohttp, which `client` needs for concurrent requests, takes longer than the whole stage `prepare` if its rows
are cached.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request

from pydantic import ValidationError

from loraform_api.verification import VerifyRequest, VerifyResponse

HEALTH_SECONDS = 5.0
POLL_SECONDS = 0.5
"""Seconds between two health checks."""
PAUSES = (0.0, 0.2, 1.0)
"""Seconds before each repetition of a request that got no response; a verdict changes nothing in the service."""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Ignores proxy settings of the environment: the verifier is in the same pod."""
_CONNECTION_ERRORS = (OSError, http.client.HTTPException)


class VerifierUnavailable(ConnectionError):  # noqa: N818 - a state of the service, like ConnectionRefused
    """The service cannot be reached, is busy or did not respond in time; a retry may succeed."""

    def __init__(self, message: str, *, may_repeat: bool = False) -> None:
        """`may_repeat`: the same request may succeed at once, on another connection."""
        super().__init__(message)
        self.may_repeat = may_repeat


class VerifierRefused(ValueError):  # noqa: N818 - the counterpart of VerifierUnavailable
    """The service rejects the request; the message holds its response."""


def not_ready(seconds: float) -> VerifierUnavailable:
    """Return the error of a service that is not healthy after `seconds`."""
    return VerifierUnavailable(f"the verifier was not ready after {seconds:.0f} s; look at its container's log")


def no_response(url: str, error: Exception) -> VerifierUnavailable:
    """Return the error of a request that got no response."""
    # After a timeout the service may still be at work on the request.
    message = f"verifier at {url}: {type(error).__name__}: {error}"
    return VerifierUnavailable(message, may_repeat=not isinstance(error, TimeoutError))


def parse_response(url: str, status: int, body: bytes) -> VerifyResponse:
    """Parse a response of the service at `url`. Raises VerifierUnavailable or VerifierRefused."""
    text = body.decode("utf-8", errors="replace")
    if status != 200:
        error_type = VerifierUnavailable if status >= 500 else VerifierRefused
        raise error_type(f"verifier at {url} answered {status}: {text[:300]}")
    try:
        return VerifyResponse.model_validate_json(text)
    except ValidationError as error:
        raise VerifierUnavailable(f"verifier at {url} sent an invalid response: {text[:100]!r}") from error


def verify(url: str, request: VerifyRequest, *, seconds: float = 1800) -> VerifyResponse:
    """Verify programs; `seconds` bounds each socket operation. Raises VerifierUnavailable or VerifierRefused.

    A request whose connection is lost is repeated.
    """
    for pause in PAUSES:
        try:
            return _verify(url, request, seconds)
        except VerifierUnavailable as error:
            if not error.may_repeat:
                raise
        time.sleep(pause)
    return _verify(url, request, seconds)


def _verify(url: str, request: VerifyRequest, seconds: float) -> VerifyResponse:
    body, headers = request.model_dump_json(by_alias=True).encode(), {"Content-Type": "application/json"}
    http_request = urllib.request.Request(f"{url}/v1/verify", body, headers)  # noqa: S310 (our own sidecar)
    try:
        with _OPENER.open(http_request, timeout=seconds) as response:
            status, answer = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, answer = error.code, error.read()
    except _CONNECTION_ERRORS as error:
        raise no_response(url, error) from error
    return parse_response(url, status, answer)


def wait_until_healthy(url: str, seconds: float) -> None:
    """Return once the health check succeeds; raises VerifierUnavailable after `seconds`."""
    deadline = time.monotonic() + seconds
    while not healthy(url):
        if time.monotonic() >= deadline:
            raise not_ready(seconds)
        time.sleep(POLL_SECONDS)


def healthy(url: str) -> bool:
    """Return whether the health check succeeds."""
    try:
        with _OPENER.open(f"{url}/healthz", timeout=HEALTH_SECONDS):
            return True
    except _CONNECTION_ERRORS:
        return False
