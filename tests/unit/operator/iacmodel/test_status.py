"""A live version whose prompt template the gateways refuse, while a newer one may be on its way."""

from __future__ import annotations

import pytest

from loraform_api.heartbeat import Heartbeat, LoadedAdapter
from loraform_operator.iacmodel.status import derive_serving


@pytest.mark.parametrize(
    ("newest", "stalled", "words"),
    [(1, True, "create FineTuneJob `job-1` again"), (2, False, "0 of 1 engine pods are ready to serve it")],
)
def test_another_template_waits_for_the_newer_version_or_for_the_user(
    build, newest: int, stalled: bool, words: str
) -> None:
    told = [LoadedAdapter(digest=build.digest(1), state="TemplateMismatch", message="it differs")]
    observed = build.observed(
        versions=tuple(build.version(n) for n in range(newest, 0, -1)),
        route=build.route(1, *range(2, newest + 1)),
        agents=[build.agent(v1="Ready", v2="Loading")],
        gateways={"g": Heartbeat(role="gateway", pod="g", adapters=told)},
    )
    state = derive_serving(observed)
    assert (state.reason, state.status, state.stalled, state.moving) == (
        "TemplateMismatch",
        "False",
        stalled,
        not stalled,
    )
    assert state.message.startswith("version 1 (job job-1) cannot answer: it differs; ")
    assert words in state.message
