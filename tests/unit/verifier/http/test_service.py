"""The service before a request reaches the queue: what may wait, and what a wrong body costs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp.test_utils import TestClient, TestServer

from loraform_api.verification import Stage, VerifyRequest, VerifyResponse
from loraform_verifier.http import service
from loraform_verifier.http.queue import Verifiers
from loraform_verifier.verify import Verifier

WAIT = 10.0
MIB = 1 << 20


class Gated(Verifier):
    """Answers once its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()

    def verify(
        self, request: VerifyRequest, *, beginning: Callable[[Stage, int], None] = lambda _stage, _programs: None
    ) -> VerifyResponse:
        self.entered.set()
        assert self.gate.wait(WAIT)
        return VerifyResponse(verdicts=[], seconds=0, toolchain=self.toolchain)


@pytest.fixture
def verifier() -> Gated:
    return Gated()


@pytest.fixture
async def client(verifier: Gated) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]  # of no use here
    async with TestClient(TestServer(service.application(Verifiers(verifier, verifier, verifier)))) as made:
        yield made
        verifier.gate.set()


def body(size: int) -> bytes:
    """Return a request without programs of `size` bytes."""
    text = b'{"programs": [], "stages": ["Parse"]'
    return text + b" " * (size - len(text) - 1) + b"}"


async def post(client: TestClient, data: bytes, **headers: str) -> int:  # type: ignore[type-arg]  # of no use here
    async with client.post("/v1/verify", data=data, headers=headers) as response:
        if response.status == 503:
            answer = await response.json()
            assert answer["error"]["code"] == "Busy"
            assert answer["error"]["message"] == "at most 64 requests or 64 MiB of them may wait; try again later"
            assert int(response.headers["Retry-After"]) > 0
        return response.status


async def test_the_bytes_that_wait_are_bounded(client: TestClient, verifier: Gated) -> None:  # type: ignore[type-arg]
    async with asyncio.timeout(WAIT):
        large = asyncio.create_task(post(client, body(service.MAX_BODY)))
        assert await asyncio.to_thread(verifier.entered.wait, WAIT)
        others = [asyncio.create_task(post(client, body(20 * MIB))) for _ in range(2)]
        done, waits = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [503]
        assert await post(client, b"not json") == 400, "there is room for a small one"
        verifier.gate.set()
        assert [await task for task in (large, *waits)] == [200, 200]
        assert await post(client, body(20 * MIB)) == 200, "nothing of those that left is counted"


async def test_a_body_without_a_length_is_counted_at_its_largest(
    client: TestClient,  # type: ignore[type-arg]  # of no use here
    verifier: Gated,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with asyncio.timeout(WAIT):
        slow = [asyncio.create_task(client.post("/v1/verify", data=endless())) for _ in range(2)]
        while await post(client, b"not json") != 503:  # noqa: ASYNC110 - until both are seen
            await asyncio.sleep(0.01)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        while await post(client, b"not json") == 503:  # noqa: ASYNC110 - until both have left
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("members", [{"programs": [{}] * 20_000}, {"programs": [], "stages": [0] * 20_000}], ids=len)
async def test_a_list_ends_at_its_first_error(client: TestClient, members: object) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=r"^[12] validation error"):
        VerifyRequest.model_validate_json(json.dumps(members))
    assert await post(client, json.dumps(members).encode()) == 400
