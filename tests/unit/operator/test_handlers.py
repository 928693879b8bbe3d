from __future__ import annotations

from itertools import islice
from types import SimpleNamespace
from typing import Any

import kopf
import pytest

from loraform_api.names import LABEL_JOB, LABEL_MODEL, Kind
from loraform_operator import handlers
from loraform_operator.context import Key
from loraform_operator.queue import Lane

RUN, MODEL = Key(Kind.FINE_TUNE_JOB, "ns", "run"), Key(Kind.IAC_MODEL, "ns", "model")


def obj(key: Key, **spec: Any) -> dict[str, Any]:
    meta = {"name": key.name, "uid": f"uid-{key.name}", "namespace": key.namespace, "managedFields": [{"manager": "x"}]}
    return {"kind": key.kind.value, "metadata": meta, "spec": spec}


class App:
    """Records the woken keys and their lanes."""

    def __init__(self) -> None:
        self.woken: list[Key | None] = []
        self.lanes: set[Lane] = set()

    def seen(self, key: Key | None, lane: Lane) -> None:
        self.woken.append(key)
        self.lanes.add(lane)


@pytest.fixture
def app() -> App:
    return App()


async def call(handler: Any, app: App, body: dict[str, Any], **indexes: Any) -> Any:
    event = {"type": "MODIFIED", "object": body}
    return await handler(**{"body": kopf.Body(body), "event": event, "memo": SimpleNamespace(app=app), **indexes})


@pytest.mark.parametrize(
    ("labels", "owner"),
    [({LABEL_JOB: "run"}, RUN), ({LABEL_MODEL: "model"}, MODEL), ({"app": "x"}, None), (None, None)],
)
async def test_a_child_wakes_its_owner(app: App, labels: dict[str, str] | None, owner: Key | None) -> None:
    child = {"kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "labels": labels, "managedFields": []}}
    await call(handlers.on_child, app, child)
    indexed = await call(handlers.children, app, child)
    assert app.woken == [owner]
    assert list(indexed) == ([owner] if owner else [])


async def test_a_run_wakes_itself_and_its_model(app: App) -> None:
    await call(handlers.on_run, app, obj(RUN, modelRef={"name": "model"}))
    assert app.woken == [RUN, MODEL]


async def test_a_model_wakes_the_runs_that_name_it(app: App) -> None:
    objects = {RUN: [obj(RUN, modelRef={"name": "model"})], MODEL: [obj(MODEL)]}
    objects[RUN._replace(name="other")] = [obj(RUN._replace(name="other"))]
    await call(handlers.on_model, app, obj(MODEL), objects=objects)
    assert app.woken == [MODEL, RUN]


@pytest.mark.parametrize(("type_", "lane"), [(None, Lane.WAITING), ("ADDED", Lane.MOVING), ("DELETED", Lane.MOVING)])
@pytest.mark.parametrize("handler", [handlers.on_run, handlers.on_model, handlers.on_child])
async def test_an_event_passes_what_a_list_has(app: App, handler: Any, type_: str | None, lane: Lane) -> None:
    await call(handler, app, obj(RUN), event={"type": type_, "object": {}}, objects={})
    assert app.lanes == {lane}


async def test_managed_fields_are_not_indexed(app: App) -> None:
    indexed = await call(handlers.objects, app, obj(RUN))
    assert "managedFields" not in indexed[RUN]["metadata"]


def test_no_handler_adds_a_finalizer() -> None:
    registry = kopf.get_default_registry()
    assert not registry._spawning.get_all_handlers()
    assert not registry._changing.get_all_handlers()


def test_settings_of_kopf() -> None:
    settings = kopf.OperatorSettings()
    handlers.configure(settings, namespaced=True)
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert list(islice(settings.networking.error_backoffs, 7)) == [1, 2, 4, 8, 16, 30, 30]  # type: ignore[call-overload, arg-type]
