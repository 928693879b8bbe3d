"""Blocking client of the verifier service, with the standard library only.

Importing aiohttp, which `client` needs for concurrent requests, takes longer than the whole stage `prepare` if its rows
are cached.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from pydantic import ValidationError

from loraform_api.verification import VerifyRequest, VerifyResponse

HEALTH_SECONDS = 5.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Ignores proxy settings of the environment: the verifier is in the same pod."""
_CONNECTION_ERRORS = (OSError, http.client.HTTPException)


class VerifierUnavailable(ConnectionError):  # noqa: N818 - a state of the service, like ConnectionRefused
    """The service cannot be reached, is busy or did not respond in time; a retry may succeed."""


class VerifierRefused(ValueError):  # noqa: N818 - the counterpart of VerifierUnavailable
    """The service rejects the request; the message holds its response."""


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
    """Verify programs; `seconds` bounds each socket operation. Raises VerifierUnavailable or VerifierRefused."""
    body, headers = request.model_dump_json(by_alias=True).encode(), {"Content-Type": "application/json"}
    http_request = urllib.request.Request(f"{url}/v1/verify", body, headers)  # noqa: S310 (our own sidecar)
    try:
        with _OPENER.open(http_request, timeout=seconds) as response:
            return parse_response(url, response.status, response.read())
    except urllib.error.HTTPError as error:
        return parse_response(url, error.code, error.read())
    except _CONNECTION_ERRORS as error:
        raise VerifierUnavailable(f"verifier at {url}: {type(error).__name__}: {error}") from error


def healthy(url: str) -> bool:
    """Return whether the health check succeeds."""
    try:
        with _OPENER.open(f"{url}/healthz", timeout=HEALTH_SECONDS):
            return True
    except _CONNECTION_ERRORS:
        return False
