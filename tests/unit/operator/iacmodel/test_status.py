"""A live version that the gateways or the spec's engine cannot serve, while a newer one may be on its way."""

from __future__ import annotations

import pytest

from loraform_api.heartbeat import Heartbeat, LoadedAdapter
from loraform_operator.iacmodel.status import derive_serving


@pytest.mark.parametrize(
    ("newest", "second", "stalled", "words"),
    [
        (1, "Ready", True, "create FineTuneJob `job-1` again"),
        (2, "Loading", False, "0 of 1 engine pods are ready"),
        (2, "NotServable:no parity", True, "create FineTuneJob `job-1` again"),
    ],
)
def test_another_template_waits_for_the_newer_version_or_for_the_user(
    build, newest: int, second: str, stalled: bool, words: str
) -> None:
    told = [LoadedAdapter(digest=build.digest(1), state="TemplateMismatch", message="it differs")]
    observed = build.observed(
        versions=tuple(build.version(n) for n in range(newest, 0, -1)),
        route=build.route(1, *range(2, newest + 1)),
        agents=[build.agent(v1="Ready", v2=second)],
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


def test_a_version_that_the_lowered_rank_fits_replaces_the_one_that_it_does_not(build) -> None:
    observed = build.observed(
        versions=(build.version(2, rank=8), build.version(1, rank=16)),
        route=build.route(1, 2),
        agents=[build.agent(v1="Ready", v2="Loading")],
        model=build.model(serving={"lora": {"maxRank": 8}}),
    )
    state = derive_serving(observed)
    assert (state.reason, state.stalled, state.moving) == ("InvalidSpec", False, True)
    assert "version 2 (job job-2) is to replace it: 0 of 1 engine pods are ready to serve it" in state.message
    assert "is left as it is" not in state.message


@pytest.mark.parametrize(("ready", "reason"), [(0, "AdapterNotServable"), (1, "VersionLive")])
def test_a_live_version_that_no_engine_can_load_any_more_says_why(build, ready: int, reason: str) -> None:
    observed = build.observed(
        versions=(build.version(1),),
        route=build.route(1),
        agents=[build.agent(v1="NotServable:no parity")],
        ready=ready,
    )
    state = derive_serving(observed)
    assert (state.reason, state.stalled) == (reason, not ready)
    assert ("no parity; restore base model and profile" in state.message) is (not ready)
