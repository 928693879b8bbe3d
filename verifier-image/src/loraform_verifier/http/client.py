"""Asynchronous client of the verifier service, for the trainer and the gateway."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp

from loraform_api.verification import VerifyRequest, VerifyResponse
from loraform_verifier.http.blocking import VerifierUnavailable, parse_response


class VerifierClient:
    """A client of one verifier; an async context manager."""

    def __init__(self, url: str, *, seconds: float = 1800) -> None:
        """`url` is the service's root, for example `http://127.0.0.1:8085`; `seconds` bounds one request."""
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=seconds, connect=5)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def verify(self, request: VerifyRequest, *, seconds: float | None = None) -> VerifyResponse:
        """Verify programs, in at most `seconds` if given. Raises VerifierUnavailable or VerifierRefused."""
        body = request.model_dump_json(by_alias=True)
        timeout = self._timeout if seconds is None else aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._connected().post(
                f"{self._url}/v1/verify", data=body, headers={"Content-Type": "application/json"}, timeout=timeout
            ) as response:
                return parse_response(self._url, response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VerifierUnavailable(f"verifier at {self._url}: {type(error).__name__}: {error}") from error

    async def healthy(self) -> bool:
        """Return whether the health check succeeds."""
        try:
            async with self._connected().get(
                f"{self._url}/healthz", timeout=aiohttp.ClientTimeout(total=5)
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use VerifierClient as `async with VerifierClient(url) as verifier:`")
        return self._session
