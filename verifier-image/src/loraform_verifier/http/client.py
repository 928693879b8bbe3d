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


class VerifierClient:
    """A client of one verifier; an async context manager. Each request has a connection of its own."""

    def __init__(self, url: str, *, seconds: float = 1800) -> None:
        """`url` is the service's root, for example `http://127.0.0.1:8085`; `seconds` bounds one request."""
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=seconds, connect=5)
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

    async def verify(self, request: VerifyRequest, *, seconds: float | None = None) -> VerifyResponse:
        """Verify programs, in at most `seconds` if given. Raises VerifierUnavailable or VerifierRefused.

        A request whose connection is lost is repeated.
        """
        body = request.model_dump_json(by_alias=True)
        for pause in PAUSES:
            try:
                return await self._verify(body, seconds)
            except VerifierUnavailable as error:
                if not error.may_repeat:
                    raise
            await asyncio.sleep(pause)
        return await self._verify(body, seconds)

    async def _verify(self, body: str, seconds: float | None) -> VerifyResponse:
        timeout = self._timeout if seconds is None else aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._connected().post(
                f"{self._url}/v1/verify", data=body, headers={"Content-Type": "application/json"}, timeout=timeout
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
