"""When a model is looked at again, with an API server in memory (tests/integration has the real one)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api.names import Kind
from loraform_operator.context import Cache, Context, Endpoint, Key
from loraform_operator.endpoint.heartbeats import HeartbeatStore
from loraform_operator.endpoint.progress_store import ProgressStore
from loraform_operator.iacmodel.reconcile import reconcile
from loraform_operator.kube import errors
from loraform_operator.settings import load_settings
from loraform_operator.waits import Waits

CASES = Path(__file__).parents[3] / "cases"
KEY = Key(Kind.IAC_MODEL, "team-a", "terraform")


class MemoryCluster:
    """Has the model, takes its status, and refuses Deployments when told so."""

    def __init__(self, model: dict[str, Any]) -> None:
        self.model, self.full = model, False

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return self.model

    async def apply(self, obj: dict[str, Any], observed: dict[str, Any] | None) -> None:
        if self.full and obj["kind"] == "Deployment":
            raise errors.Forbidden("exceeded quota: team-a", 403)

    async def write_status(self, obj: dict[str, Any], status: dict[str, Any]) -> None:
        self.model["status"] = status

    async def record(self, obj: dict[str, Any], note: Any) -> None:
        """Keep no events."""


class World:
    def __init__(self) -> None:
        folder = CASES / "iacmodel" / "16-object-refused"
        model = yaml.safe_load((folder / "input.yaml").read_text())
        children = yaml.safe_load((folder / "observed.yaml").read_text())["children"]
        for number, child in enumerate(children):
            child["metadata"]["uid"] = str(number)
        self.cluster = MemoryCluster(model)
        self.now = datetime(2026, 11, 24, 10, tzinfo=UTC)
        self.context = Context(
            settings=load_settings(CASES / "finetunejob" / "settings.yaml"),
            cluster=self.cluster,  # type: ignore[arg-type]
            cache=Cache({KEY: [model]}, {KEY: children}),
            endpoint=Endpoint("https://10.96.7.7:9443", "loraform.system.svc", "CA\n", ("10.96.7.7",), "system"),
            events=self.cluster,  # type: ignore[arg-type]
            progress=ProgressStore(),
            heartbeats=HeartbeatStore(timedelta(seconds=15)),
            routes={},
            clock=lambda: self.now,
            waits=Waits(share=lambda: 0.0),
        )

    async def pause(self) -> float:
        """Reconcile, and return the seconds for which the model waits for what was refused."""
        with pytest.raises(errors.Waiting, match="exceeded quota: team-a") as caught:
            await reconcile(self.context, KEY)
        return caught.value.after


@pytest.fixture
def world() -> World:
    return World()


async def test_a_model_whose_object_is_refused_is_polled_less_and_less(world: World) -> None:
    world.cluster.full = True
    pauses = []
    for _ in range(5):
        pauses.append(await world.pause())
        world.now += timedelta(seconds=pauses[-1])
    assert pauses == [10, 10, 20, 40, 80]
    world.cluster.full = False
    assert await reconcile(world.context, KEY) is None
    world.cluster.full = True
    assert await world.pause() == 10
