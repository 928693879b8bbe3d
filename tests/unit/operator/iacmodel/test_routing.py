"""When the newest accepted version goes live."""

from __future__ import annotations

import pytest

from loraform_api.iacmodel import Decision
from loraform_operator.iacmodel.routing import derive_route


def summary(build, route) -> tuple[int | None, list[int]]:
    live = next((a.version for a in route.adapters if a.digest == route.live), None)
    return live, [a.version for a in route.adapters]


def test_there_is_no_route_without_an_accepted_version(build) -> None:
    assert derive_route(build.observed()) is None
    assert derive_route(build.observed(versions=(build.version(1, Decision.MINIMUMS_NOT_MET),))) is None


@pytest.mark.parametrize(
    ("live", "agents", "ready", "expected"),
    [
        (None, [], 0, (None, [2])),
        (None, [{"v2": "Loading"}], 1, (None, [2])),
        (None, [{"v2": "Ready"}], 0, (2, [2])),
        (1, [], 1, (1, [1, 2])),
        (1, [{"v1": "Ready"}], 1, (1, [1, 2])),
        (1, [{"v1": "Ready", "v2": "NotServable:why"}], 1, (1, [1, 2])),
        (1, [{"v1": "Ready", "v2": "Ready"}], 1, (2, [2])),
        (1, [{"v2": "Ready"}, {"v2": "Loading"}], 2, (1, [1, 2])),
        (1, [{"v2": "Ready"}, {"v2": "Ready"}], 2, (2, [2])),
        (1, [{"v2": "Ready"}], 2, (1, [1, 2])),  # the operator restarted: the other agent has not reported yet
        (2, [{"v2": "Loading"}], 1, (2, [2])),  # live stays live while an engine restarts
        (2, [], 0, (2, [2])),
    ],
)
def test_the_target_goes_live_when_every_engine_is_ready(build, live, agents, ready, expected) -> None:
    observed = build.observed(
        versions=(build.version(2), build.version(1)),
        route=build.route(live, 2) if live != 2 else build.route(2),
        agents=[build.agent(**states) for states in agents],
        ready=ready,
    )
    assert summary(build, derive_route(observed)) == expected


def test_a_version_is_live_at_once_with_no_replicas(build) -> None:
    observed = build.observed(model=build.model(serving={"replicas": 0}), versions=(build.version(1),), children=())
    assert summary(build, derive_route(observed)) == (1, [1])


def test_a_version_is_live_at_once_when_scaled_to_zero(build) -> None:
    scaled = (build.deployment("house-engine", 0, replicas=0),)
    assert summary(build, derive_route(build.observed(versions=(build.version(1),), children=scaled))) == (1, [1])


@pytest.mark.parametrize(("replicas", "scaled_to_zero"), [(0, True), (1, False), (3, False)])
def test_the_route_says_when_no_engine_pod_is_wanted(build, replicas: int, scaled_to_zero: bool) -> None:
    model = build.model(serving={"replicas": replicas})
    route = derive_route(build.observed(model=model, versions=(build.version(1),), route=build.route(1)))
    assert route.scaled_to_zero is scaled_to_zero


def test_a_version_that_the_engine_cannot_serve_is_not_routed_even_without_an_engine(build) -> None:
    model = build.model(serving={"replicas": 0, "lora": {"maxRank": 8}})
    assert derive_route(build.observed(model=model, versions=(build.version(1),), children=())) is None
    versions = (build.version(2), build.version(1, rank=8))
    assert summary(build, derive_route(build.observed(model=model, versions=versions, route=build.route(1)))) == (
        1,
        [1],
    )


def test_the_live_version_stays_routed_when_the_spec_no_longer_fits_it(build) -> None:
    observed = build.observed(
        model=build.model(serving={"lora": {"maxRank": 8}}), versions=(build.version(1),), route=build.route(1)
    )
    assert summary(build, derive_route(observed)) == (1, [1])


def test_refused_versions_are_not_routed(build) -> None:
    versions = (build.version(2, Decision.NOT_BETTER_THAN_LIVE), build.version(1))
    assert summary(build, derive_route(build.observed(versions=versions, route=build.route(1)))) == (1, [1])


def test_the_revision_depends_on_the_content(build) -> None:
    one = derive_route(build.observed(versions=(build.version(1),), route=build.route(1)))
    again = derive_route(build.observed(versions=(build.version(1),), route=one))
    other = derive_route(build.observed(versions=(build.version(1),), route=one, model=build.model(policy=None)))
    assert one == again
    assert other.policy is None
    assert one.revision != other.revision


def test_paths_lie_below_the_mounts(build) -> None:
    route = derive_route(build.observed(versions=(build.version(1),), route=build.route(1)))
    assert route.base_path == "/mnt/base/tiny"
    assert route.adapters[0].path == "/mnt/store/store/adapters/job-1"


def test_each_adapter_has_the_limit_of_its_own_evaluation(build) -> None:
    versions = (build.version(2, max_new_tokens=384), build.version(1, max_new_tokens=2048))
    route = derive_route(build.observed(versions=versions, route=build.route(1)))
    assert [(a.version, a.max_new_tokens) for a in route.adapters] == [(1, 2048), (2, 384)]


def test_versions_with_the_same_adapter_share_a_route_entry(build) -> None:
    twin = build.version(2, artifact_digest=build.digest(1))
    route = derive_route(build.observed(versions=(twin, build.version(1)), route=build.route(1)))
    assert summary(build, route) == (2, [2])
