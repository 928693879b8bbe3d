"""Heartbeats over real TLS: to an address from a file, believed by the operator's own CA and its Service's name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loraform_api.heartbeat import Heartbeat, Route
from loraform_gateway.route import Operator, RouteFollower

FIRST, SECOND = (Route(revision=name, model="house", base_path="/mnt/base") for name in ("r1", "r2"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the pod mounts."""
    (tmp_path / "mounted").mkdir()
    return tmp_path / "mounted"


@pytest.fixture
def operator(stub_operator: type, folder: Path) -> Iterator[Any]:
    stub = stub_operator(folder)
    stub.route = FIRST
    yield stub
    stub.stop()


@pytest.fixture
def moved(stub_operator: type, tmp_path: Path) -> Iterator[Any]:
    """The operator after its Service was made anew: another address, another CA."""
    (tmp_path / "moved").mkdir()
    stub = stub_operator(tmp_path / "moved")
    stub.route = SECOND
    yield stub
    stub.stop()


def follower(folder: Path) -> RouteFollower:
    where = Operator(folder / "endpoint.json", folder / "token")
    return RouteFollower(folder / "route.json", where, lambda r: Heartbeat(role="agent", pod="pod-a"))


async def follow(folder: Path) -> Route | None:
    me = follower(folder)
    async with aiohttp.ClientSession() as session:
        await me.beat(session)
    return me.route


async def test_the_operators_ca_is_believed_for_the_services_name(operator: Any, folder: Path) -> None:
    assert await follow(folder) == FIRST


async def test_a_certificate_for_another_name_is_not(operator: Any, folder: Path) -> None:
    operator.mount(folder, server_name="loraform-operator.elsewhere.svc")
    assert await follow(folder) is None
    assert operator.beats == {}, "nothing was sent, the token least of all"


async def test_another_ca_is_not(operator: Any, moved: Any, folder: Path) -> None:
    moved.port = operator.port  # the file names the operator's port with the other's CA
    moved.mount(folder)
    assert await follow(folder) is None
    assert operator.beats == {}


async def test_a_wrong_token_gets_no_route(operator: Any, folder: Path) -> None:
    (folder / "token").write_text("stolen")
    assert await follow(folder) is None


async def test_a_new_address_is_followed_while_the_process_runs(operator: Any, moved: Any, folder: Path) -> None:
    me = follower(folder)
    async with aiohttp.ClientSession() as session:
        await me.beat(session)
        operator.stop()
        await me.beat(session)
        assert me.route == FIRST, "the old address answers no more, and the last route stays"
        moved.mount(folder)
        await me.beat(session)
    operator.start()
    assert me.route == SECOND
