"""Heartbeats over real TLS: only the operator's own CA is believed, and only its token is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loraform_api.heartbeat import Heartbeat, Route
from loraform_gateway.route import Operator, RouteFollower
from loraform_operator.endpoint.certificates import make_ca

ROUTE = Route(revision="r1", model="house", base_path="/mnt/base")


@pytest.fixture
def operator(stub_operator: type, tmp_path: Path) -> Iterator[Any]:
    stub = stub_operator(tmp_path)
    stub.route = ROUTE
    yield stub
    stub.stop()


async def follow(operator: Any, folder: Path) -> Route | None:
    where = Operator(f"https://127.0.0.1:{operator.port}/heartbeat", folder / "ca.crt", folder / "token")
    follower = RouteFollower(folder / "route.json", where, lambda r: Heartbeat(role="agent", pod="pod-a"))
    async with aiohttp.ClientSession() as session:
        await follower.beat(session)
    return follower.route


async def test_the_operators_ca_is_believed(operator: Any, tmp_path: Path) -> None:
    assert await follow(operator, tmp_path) == ROUTE


async def test_another_ca_is_not(operator: Any, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(make_ca(datetime.now(UTC)).certificate)
    assert await follow(operator, tmp_path) is None
    assert operator.beats == {}, "nothing was sent, the token least of all"


async def test_a_wrong_token_gets_no_route(operator: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("stolen")
    assert await follow(operator, tmp_path) is None
