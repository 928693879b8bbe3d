"""Loading and checking adapters, against a stub of the engine."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from loraform_api.heartbeat import AdapterState, RouteAdapter, adapter_name
from loraform_engine.adapters import MISSED_LOOKS, UNLOAD_AFTER_SECONDS, AdapterLoader
from loraform_engine.client import Engine
from loraform_engine.version import LEAST_VERSION


def change(adapter: RouteAdapter) -> None:
    (Path(adapter.path) / "adapter_model.safetensors").write_bytes(b"other weights")


@pytest.fixture
def loader(engine, session, clock) -> AdapterLoader:
    return AdapterLoader(Engine(session, engine.url, pauses=(0,)), clock)


async def test_an_adapter_is_ready_after_load_and_parity(loader, engine, make_adapter, make_route) -> None:
    adapter = make_adapter()
    await loader.reconcile(make_route(adapter))
    assert engine.loaded == {adapter_name(adapter.digest): adapter.path}
    (state,) = loader.states()
    assert state.state is AdapterState.READY
    assert "largest log-probability difference to the trained adapter 0 " in state.message
    assert loader.may_answer(adapter_name(adapter.digest))
    assert not loader.may_answer("base")


async def test_a_ready_adapter_is_not_loaded_again(loader, engine, make_adapter, make_route) -> None:
    route = make_route(make_adapter())
    await loader.reconcile(route)
    await loader.reconcile(route)
    assert len(engine.calls) == 1


async def test_an_engine_that_serves_the_base_is_detected(loader, engine, make_adapter, make_route) -> None:
    engine.applies_adapters = False
    adapter = make_adapter()
    await loader.reconcile(make_route(adapter))
    (state,) = loader.states()
    assert state.state is AdapterState.NOT_SERVABLE
    assert state.message.startswith("the engine answers as the base model: the adapter is not applied")
    assert not loader.may_answer(adapter_name(adapter.digest))
    assert engine.loaded == {}


async def test_a_not_servable_adapter_is_loaded_only_once(loader, engine, make_adapter, make_route) -> None:
    engine.applies_adapters = False
    route = make_route(make_adapter())
    await loader.reconcile(route)
    await loader.reconcile(route)
    assert [c.split()[0] for c in engine.calls] == ["load", "unload"]


async def test_changed_files_never_reach_the_engine(loader, engine, make_adapter, make_route) -> None:
    adapter = make_adapter()
    change(adapter)
    await loader.reconcile(make_route(adapter))
    (state,) = loader.states()
    assert state.state is AdapterState.NOT_SERVABLE
    assert "they were changed" in state.message
    assert engine.calls == []


async def test_an_adapter_waits_for_missing_files(loader, make_adapter, make_route) -> None:
    adapter = make_adapter()
    hidden = shutil.move(adapter.path, adapter.path + ".late")
    await loader.reconcile(make_route(adapter))
    (state,) = loader.states()
    assert state.state is AdapterState.LOADING
    assert "No such file" in state.message
    shutil.move(hidden, adapter.path)
    await loader.reconcile(make_route(adapter))
    assert loader.states()[0].state is AdapterState.READY


async def test_adapters_are_loaded_again_after_an_engine_restart(loader, engine, make_adapter, make_route) -> None:
    route = make_route(make_adapter())
    await loader.reconcile(route)
    engine.loaded.clear()
    await loader.reconcile(route)
    assert [c.split()[0] for c in engine.calls] == ["load", "load"]
    assert loader.ready(route)


async def test_an_engine_that_restarts_during_the_check_is_no_fault_of_the_adapter(
    loader, engine, make_adapter, make_route
) -> None:
    route = make_route(make_adapter())
    engine.gate = asyncio.Event()
    checking = asyncio.create_task(loader.reconcile(route))
    await engine.entered.wait()
    engine.loaded.clear()
    engine.gate.set()
    await checking
    assert loader.states()[0].state is AdapterState.LOADING
    assert "the engine lost the adapter while it was checked" in loader.states()[0].message
    await loader.reconcile(route)
    assert loader.ready(route)


async def test_a_missed_look_keeps_a_proved_adapter(loader, engine, make_adapter, make_route) -> None:
    route = make_route(make_adapter())
    await loader.reconcile(route)
    asked = len(engine.requests)
    engine.down = True
    for _ in range(MISSED_LOOKS - 1):
        await loader.reconcile(route)
        assert loader.ready(route)
    await loader.reconcile(route)
    assert not loader.ready(route)
    assert loader.states()[0].message.startswith("the engine answered 503")
    engine.down = False
    await loader.reconcile(route)
    assert loader.ready(route)
    assert [c.split()[0] for c in engine.calls] == ["load"]
    assert len(engine.requests) == asked, "the same process was proved before"


async def test_parity_requests_run_beside_each_other(loader, engine, make_adapter, make_route) -> None:
    engine.gate = asyncio.Event()
    task = asyncio.create_task(loader.reconcile(make_route(make_adapter())))
    while len(engine.requests) < 2:  # both of its parity row
        await asyncio.wait_for(engine.entered.wait(), 10)
        engine.entered.clear()
    engine.gate.set()
    await task
    assert loader.states()[0].state is AdapterState.READY


@pytest.mark.parametrize("version", ["0.25.1", "dev"])
async def test_an_old_engine_loads_nothing(loader, engine, make_adapter, make_route, version) -> None:
    engine.version = version
    await loader.reconcile(make_route(make_adapter()))
    assert loader.states()[0].state is AdapterState.NOT_SERVABLE
    assert loader.states()[0].message == (
        f"the engine is vLLM {version}, but adapters need vLLM {LEAST_VERSION} or newer: "
        "change the profile's engine image"
    )
    assert engine.calls == []


async def test_an_engine_that_answers_by_another_name_proves_nothing(loader, engine, make_adapter, make_route) -> None:
    engine.answers_as = "base"
    adapter = make_adapter()
    await loader.reconcile(make_route(adapter))
    assert not loader.may_answer(adapter_name(adapter.digest))
    assert "the engine answered as 'base'" in loader.states()[0].message


async def test_an_adapter_that_is_loaded_already_is_only_checked(
    loader, engine, make_adapter, make_route, loaded
) -> None:
    adapter = make_adapter()
    loaded(adapter)
    await loader.reconcile(make_route(adapter))
    assert engine.calls == []
    assert len(engine.requests) == 2  # its parity row has two tokens
    assert loader.may_answer(adapter_name(adapter.digest))


async def test_a_refused_load_names_the_engines_reason(loader, engine, make_adapter, make_route) -> None:
    engine.refuse_load = "LoRA rank 128 is greater than max_lora_rank 64."
    await loader.reconcile(make_route(make_adapter()))
    assert loader.states()[0].state is AdapterState.NOT_SERVABLE
    assert loader.states()[0].message == engine.refuse_load


async def test_an_adapter_outside_the_route_is_unloaded_after_a_delay(
    loader, engine, clock, make_adapter, make_route
) -> None:
    old, new = make_adapter(1), make_adapter(2)
    await loader.reconcile(make_route(old, new))
    clock.now = 10
    await loader.reconcile(make_route(new))
    assert loader.may_answer(adapter_name(old.digest))
    clock.now = 10 + UNLOAD_AFTER_SECONDS
    await loader.reconcile(make_route(new))
    await loader.reconcile(make_route(new))
    assert list(engine.loaded) == [adapter_name(new.digest)]
    assert [s.digest for s in loader.states()] == [new.digest]


async def test_without_an_engine_nothing_is_ready(session, make_adapter, make_route, unused_tcp_port) -> None:
    loader = AdapterLoader(Engine(session, f"http://127.0.0.1:{unused_tcp_port}"))
    route = make_route(make_adapter())
    await loader.reconcile(route)
    assert not loader.ready(route)
    assert not loader.ready(make_route())
    assert loader.states()[0].message.startswith("the engine does not answer")


async def test_without_a_live_version_a_running_engine_is_ready(loader, make_route) -> None:
    route = make_route()
    assert not loader.ready(route)
    await loader.reconcile(route)
    assert loader.ready(route)
