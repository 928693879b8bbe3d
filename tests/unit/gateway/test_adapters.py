"""Which adapters may answer, against a stub of the engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loraform_api.heartbeat import AdapterState, RouteAdapter, adapter_name
from loraform_engine.adapters import UNLOAD_AFTER_SECONDS, Keeper
from loraform_engine.client import Engine


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def change(adapter: RouteAdapter) -> None:
    (Path(adapter.path) / "adapter_model.safetensors").write_bytes(b"other weights")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(engine, session, clock) -> Keeper:
    return Keeper(Engine(session, engine.url), clock)


async def test_an_adapter_answers_after_files_load_and_parity(keeper, engine, make_adapter, make_route) -> None:
    adapter = make_adapter()
    await keeper.step(make_route(adapter))
    assert engine.loaded == {adapter_name(adapter.digest): adapter.path}
    (state,) = keeper.states()
    assert state.state is AdapterState.READY
    assert "largest log-probability difference to the trained adapter 0 " in state.message
    assert keeper.may_answer(adapter_name(adapter.digest))
    assert not keeper.may_answer("base")


async def test_a_ready_adapter_is_not_loaded_again(keeper, engine, make_adapter, make_route) -> None:
    route = make_route(make_adapter())
    await keeper.step(route)
    await keeper.step(route)
    assert len(engine.calls) == 1


async def test_an_engine_that_serves_the_base_is_found_out(keeper, engine, make_adapter, make_route) -> None:
    engine.applies_adapters = False
    adapter = make_adapter()
    await keeper.step(make_route(adapter))
    (state,) = keeper.states()
    assert state.state is AdapterState.NOT_SERVABLE
    assert state.message.startswith("the engine answers as the base model: the adapter is not applied")
    assert not keeper.may_answer(adapter_name(adapter.digest))
    assert engine.loaded == {}


async def test_not_servable_is_not_tried_again_until_the_engine_restarts(
    keeper, engine, make_adapter, make_route
) -> None:
    engine.applies_adapters = False
    route = make_route(make_adapter())
    await keeper.step(route)
    await keeper.step(route)
    assert [c.split()[0] for c in engine.calls] == ["load", "unload"]


async def test_changed_files_never_reach_the_engine(keeper, engine, make_adapter, make_route) -> None:
    adapter = make_adapter()
    change(adapter)
    await keeper.step(make_route(adapter))
    (state,) = keeper.states()
    assert state.state is AdapterState.NOT_SERVABLE
    assert "they were changed" in state.message
    assert engine.calls == []


async def test_missing_files_are_waited_for(keeper, make_adapter, make_route) -> None:
    adapter = make_adapter()
    hidden = shutil.move(adapter.path, adapter.path + ".late")
    await keeper.step(make_route(adapter))
    (state,) = keeper.states()
    assert state.state is AdapterState.LOADING
    assert "No such file" in state.message
    shutil.move(hidden, adapter.path)
    await keeper.step(make_route(adapter))
    assert keeper.states()[0].state is AdapterState.READY


async def test_a_restarted_engine_is_loaded_and_proved_again(keeper, engine, make_adapter, make_route) -> None:
    route = make_route(make_adapter())
    await keeper.step(route)
    engine.loaded.clear()
    await keeper.step(route)
    assert [c.split()[0] for c in engine.calls] == ["load", "load"]
    assert keeper.ready(route)


async def test_an_adapter_that_an_earlier_agent_loaded_is_proved_without_a_second_load(
    keeper, engine, make_adapter, make_route, loaded
) -> None:
    adapter = make_adapter()
    loaded(adapter)
    await keeper.step(make_route(adapter))
    assert engine.calls == []
    assert len(engine.requests) == 2  # its parity row has two tokens
    assert keeper.may_answer(adapter_name(adapter.digest))


async def test_a_refused_load_names_the_engines_reason(keeper, engine, make_adapter, make_route) -> None:
    engine.refuse_load = "LoRA rank 128 is greater than max_lora_rank 64."
    await keeper.step(make_route(make_adapter()))
    assert keeper.states()[0].state is AdapterState.NOT_SERVABLE
    assert keeper.states()[0].message == engine.refuse_load


async def test_an_adapter_outside_the_route_stays_for_answers_in_work(
    keeper, engine, clock, make_adapter, make_route
) -> None:
    old, new = make_adapter(1), make_adapter(2)
    await keeper.step(make_route(old, new))
    clock.now = 10
    await keeper.step(make_route(new))
    assert keeper.may_answer(adapter_name(old.digest))
    clock.now = 10 + UNLOAD_AFTER_SECONDS
    await keeper.step(make_route(new))
    await keeper.step(make_route(new))
    assert list(engine.loaded) == [adapter_name(new.digest)]
    assert [s.digest for s in keeper.states()] == [new.digest]


async def test_without_an_engine_nothing_is_ready(session, make_adapter, make_route, unused_tcp_port) -> None:
    keeper = Keeper(Engine(session, f"http://127.0.0.1:{unused_tcp_port}"))
    route = make_route(make_adapter())
    await keeper.step(route)
    assert not keeper.ready(route)
    assert not keeper.ready(make_route())
    assert keeper.states()[0].message.startswith("the engine does not answer")


async def test_with_no_version_live_the_engine_alone_makes_ready(keeper, make_route) -> None:
    route = make_route()
    assert not keeper.ready(route)
    await keeper.step(route)
    assert keeper.ready(route)
