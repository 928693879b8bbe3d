"""Following the route, against a stub of the operator."""

from __future__ import annotations

import pytest

from loraform_api.heartbeat import Heartbeat
from loraform_gateway.route import Operator, RouteFollower, live_adapter


@pytest.fixture
def files(tmp_path):
    (tmp_path / "token").write_text("first\n")
    return tmp_path


@pytest.fixture
def follower(files, operator):
    def make() -> RouteFollower:
        where = Operator(operator.mount(files), files / "token")
        return RouteFollower(
            files / "route.json", where, lambda r: Heartbeat(role="agent", pod="pod-a", route_revision=r)
        )

    return make


async def test_the_route_starts_from_the_file(files, follower, make_adapter, make_route) -> None:
    route = make_route(make_adapter())
    (files / "route.json").write_text(route.model_dump_json(by_alias=True))
    assert follower().route == route


@pytest.mark.parametrize("content", [None, "", "{", '{"revision": 1}'])
async def test_a_file_that_cannot_be_read_is_no_route(files, follower, content) -> None:
    if content is not None:
        (files / "route.json").write_text(content)
    assert follower().route is None


async def test_a_heartbeats_response_replaces_the_route(follower, operator, session, make_adapter, make_route) -> None:
    me = follower()
    operator.route = make_route(make_adapter(), revision="r7")
    await me.beat(session)
    assert me.route == operator.route
    assert me.changed.is_set()
    await me.beat(session)
    assert [b["routeRevision"] for b in operator.beats] == ["", "r7"]


async def test_the_route_stays_without_the_operator(follower, operator, session, make_adapter, make_route) -> None:
    me = follower()
    operator.route = known = make_route(make_adapter())
    await me.beat(session)
    operator.route = None  # answers 503
    await me.beat(session)
    assert me.route == known


async def test_the_token_is_read_each_time(files, follower, operator, session, make_route) -> None:
    me = follower()
    operator.route = make_route()
    await me.beat(session)
    (files / "token").write_text("second\n")
    await me.beat(session)
    assert operator.tokens == ["Bearer first", "Bearer second"]


async def test_nothing_is_sent_without_a_token(files, follower, operator, session) -> None:
    me = follower()
    (files / "token").unlink()
    await me.beat(session)
    assert (operator.beats, me.route) == ([], None)


@pytest.mark.parametrize("content", [None, "", "{}", '{"url": "https://127.0.0.1:1/", "serverName": "x", "ca": ""}'])
async def test_nothing_is_sent_without_a_complete_endpoint(files, follower, operator, session, content) -> None:
    me = follower()
    (files / "endpoint.json").unlink()
    if content is not None:
        (files / "endpoint.json").write_text(content)
    await me.beat(session)
    assert (operator.beats, me.route) == ([], None)


def test_the_live_adapter_is_found_by_its_digest(make_adapter, make_route) -> None:
    adapter = make_adapter()
    assert live_adapter(make_route(adapter)) == adapter
    assert live_adapter(make_route(adapter, live=False)) is None
    assert live_adapter(None) is None
