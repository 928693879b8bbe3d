"""Life cycle of an IaCModel as golden cases: from what is observed to status, objects and events.

A case is a folder: `input.yaml` (the IaCModel), `observed.yaml` (everything else, see `observed_of`), `now`;
`status.yaml`, `objects.yaml` and `events.yaml` are the expected results. After an intended change generate those
again, and read the diff: `python tests/cases/iacmodel/test_iacmodel_cases.py`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api import names
from loraform_api.finetunejob import FineTuneJob
from loraform_api.heartbeat import Heartbeat
from loraform_api.iacmodel import IaCModel, IaCModelStatus
from loraform_api.meta import parse_timestamp
from loraform_operator.context import Endpoint
from loraform_operator.iacmodel.notes import transitions
from loraform_operator.iacmodel.observe import Observed, read_route
from loraform_operator.iacmodel.plan import plan, route_config_map
from loraform_operator.iacmodel.routing import derive_route
from loraform_operator.iacmodel.status import derive_status
from loraform_operator.iacmodel.versions import new_versions, read_versions, revision, undecided
from loraform_operator.kube.apply import covers
from loraform_operator.settings import load_settings

HERE = Path(__file__).parent
CASES = sorted(p.parent.name for p in HERE.glob("*/input.yaml"))
ENDPOINT = Endpoint(
    base_url="https://10.96.7.7:9443",
    server_name="loraform-operator.loraform-system.svc",
    ca="CA\n",
    addresses=("10.96.7.7",),
    namespace="loraform-system",
)
MOVED = replace(ENDPOINT, base_url="https://10.96.8.8:9443", addresses=("10.96.8.8",))
"""The same after the operator's Service was made anew."""
SETTINGS = load_settings(HERE.parent / "finetunejob" / "settings.yaml")
FILES = ("status.yaml", "objects.yaml", "events.yaml")


def observed_of(model: IaCModel, facts: dict[str, Any]) -> Observed:
    """Build `Observed`. Keys of observed.yaml: children (of this model), applied (how many versions, oldest first, the
    objects of the last pass were made for: they exist too), jobs (FineTuneJobs), agents and
    gateways (heartbeats of their pods),
    refused (the API server's message about an object of this pass)."""
    children = tuple(facts.get("children", ()))
    if facts.get("applied"):
        before = observed_of(model, {**facts, "applied": 0})
        before = replace(before, versions=before.versions[-facts["applied"] :])
        children = merged(children, plan(before, SETTINGS, ENDPOINT).apply)
    versions = read_versions(c for c in children if c["kind"] == "ControllerRevision")
    maps = (c for c in children if c["metadata"]["name"] == names.route_name(model.metadata.name))
    route = next((read_route(c) for c in maps), None)
    jobs = [FineTuneJob.model_validate(j) for j in facts.get("jobs", ())]
    agents, gateways = (
        [Heartbeat.model_validate({"role": role[:-1], **beat}) for beat in facts.get(role, ())]
        for role in ("agents", "gateways")
    )
    return Observed(
        model=model,
        profile=SETTINGS.profiles[model.spec.serving.placement.profile],
        children=children,
        route=route,
        versions=versions,
        candidates=tuple(undecided(jobs, versions, model.metadata.name, route.live if route else None)),
        agents={beat.pod: beat for beat in agents},
        gateways={beat.pod: beat for beat in gateways},
        refused=facts.get("refused", ""),
    )


def reconciled(
    observed: Observed, now: datetime, endpoint: Endpoint = ENDPOINT
) -> tuple[Observed, IaCModelStatus, dict[str, Any]]:
    """Do the pure part of a reconcile: decide, route, plan, derive the status."""
    new = new_versions(observed.model, observed.candidates, observed.versions, observed.live)
    observed = replace(observed, versions=(*reversed(new), *observed.versions), candidates=())
    observed = replace(observed, route=derive_route(observed))
    planned = plan(observed, SETTINGS, endpoint)
    routes = [route_config_map(observed.model, observed.route)] if observed.route else []
    objects = {
        "create": [revision(observed.model, v) for v in new],
        "apply": [*routes, *planned.apply],
        "delete": [f"{o['kind']}/{o['metadata']['name']}" for o in planned.delete],
    }
    return observed, derive_status(observed, now), objects


def outcome(name: str) -> tuple[Any, Any, Any]:
    """Return status, objects and events of a case."""
    model, facts, now = read(name)
    observed, status, objects = reconciled(observed_of(model, facts), now)
    objects["apply"] = [o for o in objects["apply"] if not any(_is(c, o) and covers(c, o) for c in observed.children)]
    events = [f"{n.type} {n.reason}: {n.message}" for n in transitions(model.status, status)]
    return status.model_dump(mode="json", by_alias=True, exclude_none=True), objects, events


def read(name: str) -> tuple[IaCModel, dict[str, Any], datetime]:
    folder = HERE / name
    model = IaCModel.model_validate(_read(folder / "input.yaml"))
    return model, _read(folder / "observed.yaml") or {}, parse_timestamp((folder / "now").read_text().strip())


def merged(children: tuple[dict[str, Any], ...], objects: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return `children` with each of `objects` merged into the existing one, whose status it keeps."""
    others = (c for c in children if not any(_is(c, o) for o in objects))
    return (*others, *({**next((c for c in children if _is(c, o)), {}), **o} for o in objects))


def _is(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["kind"] == other["kind"] and one["metadata"]["name"] == other["metadata"]["name"])


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_case_has_expected_status_objects_and_events(name: str) -> None:
    for file, content in zip(FILES, outcome(name), strict=True):
        assert content == _read(HERE / name / file), file


@pytest.mark.parametrize("name", CASES)
def test_nothing_changes_when_the_outcome_is_observed_again(name: str) -> None:
    """The hot-loop guard: after the writes, the next pass derives the same status and plans no new object."""
    model, facts, now = read(name)
    observed, status, objects = reconciled(observed_of(model, facts), now)
    kept = tuple(c for c in observed.children if f"{c['kind']}/{c['metadata']['name']}" not in objects["delete"])
    children = merged(kept, [*objects["create"], *objects["apply"]])
    again = observed_of(model.model_copy(update={"status": status}), {**facts, "children": children, "applied": 0})
    again, status_again, objects_again = reconciled(again, now)
    assert (objects_again["create"], objects_again["delete"]) == ([], [])
    assert objects_again["apply"] == objects["apply"]
    expected = status if not objects["delete"] else status.model_copy(update={"versions": status_again.versions})
    assert status_again == expected


@pytest.mark.parametrize("name", CASES)
def test_another_address_of_the_operator_changes_config_maps_and_network_policies_alone(name: str) -> None:
    model, facts, now = read(name)
    observed = observed_of(model, facts)
    before, after = (reconciled(observed, now, endpoint)[2] for endpoint in (ENDPOINT, MOVED))
    assert {k: before[k] for k in ("create", "delete")} == {k: after[k] for k in ("create", "delete")}
    pairs = zip(before["apply"], after["apply"], strict=True)
    changed = {old["kind"] for old, new in pairs if old != new}
    assert changed == ({"ConfigMap", "NetworkPolicy"} if before["apply"] else set())


class Dumper(yaml.SafeDumper):
    """Writes no anchors and shows long text as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def regenerate() -> None:
    for name in CASES:
        for file, content in zip(FILES, outcome(name), strict=True):
            text = yaml.dump(content, Dumper=Dumper, sort_keys=False, width=120)
            (HERE / name / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    regenerate()
