"""Asynchronous client of the verifier service, for the trainer and the gateway."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

import aiohttp

from loraform_api.verification import VerifyRequest, VerifyResponse
from loraform_verifier.http.blocking import (
    HEALTH_SECONDS,
    PAUSES,
    POLL_SECONDS,
    VerifierUnavailable,
    no_response,
    not_ready,
    parse_response,
)

REFUSAL_SECONDS = 2.0
"""Seconds that the service has to refuse a request whose time is over."""


class VerifierClient:
    """A client of one verifier; an async context manager. Each request has a connection of its own."""

    def __init__(self, url: str, *, seconds: float = 1800) -> None:
        """`url` is the service's root, for example `http://127.0.0.1:8085`; `seconds` bounds each request."""
        self._url, self._seconds = url.rstrip("/"), seconds
        self._timeout = aiohttp.ClientTimeout(total=None, connect=5)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def verify(self, request: VerifyRequest) -> VerifyResponse:
        """Verify programs; raises VerifierUnavailable or VerifierRefused.

        A request whose connection is lost is repeated, in all within the time of the request or of the client.
        """
        body = request.model_dump_json(by_alias=True)
        seconds = self._seconds if request.within is None else request.within + REFUSAL_SECONDS
        try:
            async with asyncio.timeout(seconds):
                return await self._repeated(body)
        except TimeoutError as error:
            raise no_response(self._url, error) from error

    async def _repeated(self, body: str) -> VerifyResponse:
        for pause in PAUSES:
            try:
                return await self._verify(body)
            except VerifierUnavailable as error:
                if not error.may_repeat:
                    raise
            await asyncio.sleep(pause)
        return await self._verify(body)

    async def _verify(self, body: str) -> VerifyResponse:
        try:
            async with self._connected().post(
                f"{self._url}/v1/verify", data=body, headers={"Content-Type": "application/json"}
            ) as response:
                status, answer = response.status, await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise no_response(self._url, error) from error
        return parse_response(self._url, status, answer)

    async def wait_until_healthy(self, seconds: float) -> None:
        """Return once the health check succeeds; raises VerifierUnavailable after `seconds`."""
        deadline = time.monotonic() + seconds
        while not await self.healthy():
            if time.monotonic() >= deadline:
                raise not_ready(seconds)
            await asyncio.sleep(POLL_SECONDS)

    async def healthy(self) -> bool:
        """Return whether the health check succeeds."""
        try:
            async with self._connected().get(
                f"{self._url}/healthz", timeout=aiohttp.ClientTimeout(total=HEALTH_SECONDS)
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use VerifierClient as `async with VerifierClient(url) as verifier:`")
        return self._session
