"""The wiring, where no running operator is needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loraform_api.names import Kind
from loraform_operator.app import App, Options
from loraform_operator.context import Cache, Context, Endpoint, Key
from loraform_operator.endpoint import publication
from loraform_operator.endpoint.certificates import KeyPair
from loraform_operator.endpoint.heartbeats import HeartbeatStore
from loraform_operator.endpoint.progress_store import ProgressStore
from loraform_operator.settings import load_settings

SETTINGS = load_settings(Path(__file__).parents[2] / "cases" / "finetunejob" / "settings.yaml")
BEFORE = Endpoint("https://10.96.7.7:9443", "loraform-operator.loraform-system.svc", "CA\n", ("10.96.7.7",), "system")
KEY = Key(Kind.FINE_TUNE_JOB, "team", "style")
BODY = {"kind": KEY.kind.value, "metadata": {"uid": "uid"}}


class FakeCluster:
    """Lists the one object that the index has."""

    async def list(self, kind: str, *_: Any, **__: Any) -> list[dict[str, Any]]:
        return [BODY]


@pytest.mark.parametrize(
    ("after", "woken"),
    [(BEFORE, []), (replace(BEFORE, base_url="https://10.96.8.8:9443"), [KEY]), (replace(BEFORE, ca="NEW\n"), [KEY])],
)
async def test_every_object_is_reconciled_when_the_operator_has_another_address_or_ca(
    monkeypatch: pytest.MonkeyPatch, after: Endpoint, woken: list[Key]
) -> None:
    async def published(*_: Any) -> publication.PublishedEndpoint:
        return publication.PublishedEndpoint(after, KeyPair("", ""))

    monkeypatch.setattr(publication, "publish", published)
    monkeypatch.setattr(publication, "load_into", lambda *_: None)
    app = App(Options("system", "10.88.0.8"), SETTINGS, lambda: None)
    app.cluster = FakeCluster()  # type: ignore[assignment]
    app.context = Context(
        settings=SETTINGS,
        cluster=app.cluster,
        cache=Cache({KEY: [BODY]}, {}),
        endpoint=BEFORE,
        events=None,  # type: ignore[arg-type]
        progress=ProgressStore(),
        heartbeats=HeartbeatStore(timedelta(seconds=15)),
        routes={},
        clock=lambda: None,  # type: ignore[arg-type,return-value]
    )
    keys: list[Key] = []
    monkeypatch.setattr(app.queue, "wake", lambda key, _: keys.append(key))
    await app.maintain()
    assert (keys, app.context.endpoint) == (woken, after)
