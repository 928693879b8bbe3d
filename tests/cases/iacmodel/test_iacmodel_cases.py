"""Life cycle of an IaCModel as golden cases: what is observed in, status and objects out.

A case is a folder: `input.yaml` (the IaCModel), `observed.yaml` (what else is there, see `observed_of`), `now`;
`status.yaml`, `objects.yaml` and `events.yaml` are what the code must answer. After a wanted change make those again,
and read the diff: `python tests/cases/iacmodel/test_iacmodel_cases.py`.
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
ENDPOINT = Endpoint("https://10.96.7.7:9443", "CA\n", ("10.96.7.7", "10.88.0.9"), "loraform-system")
SETTINGS = load_settings(HERE.parent / "finetunejob" / "settings.yaml")
FILES = ("status.yaml", "objects.yaml", "events.yaml")


def observed_of(model: IaCModel, told: dict[str, Any]) -> Observed:
    """Build `Observed`. Keys of observed.yaml: children (of this model), applied (how many versions, oldest first, the
    objects of the last pass were made for: they exist too), jobs (FineTuneJobs), agents (heartbeats of engine pods),
    refused (the API's answer to an object of this pass)."""
    children = tuple(told.get("children", ()))
    if told.get("applied"):
        before = observed_of(model, {**told, "applied": 0})
        before = replace(before, versions=before.versions[-told["applied"] :])
        children = merged(children, plan(before, SETTINGS, ENDPOINT).apply)
    versions = read_versions(c for c in children if c["kind"] == "ControllerRevision")
    maps = (c for c in children if c["metadata"]["name"] == names.route_name(model.metadata.name))
    route = next((read_route(c) for c in maps), None)
    jobs = [FineTuneJob.model_validate(j) for j in told.get("jobs", ())]
    beats = (Heartbeat.model_validate({"role": "agent", **beat}) for beat in told.get("agents", ()))
    return Observed(
        model=model,
        children=children,
        route=route,
        versions=versions,
        candidates=tuple(undecided(jobs, versions, model.metadata.name, route.live if route else None)),
        agents={beat.pod: beat for beat in beats},
        refused=told.get("refused", ""),
    )


def answer(observed: Observed, now: datetime) -> tuple[Observed, IaCModelStatus, dict[str, Any]]:
    """Do the pure part of a reconcile: decide, route, plan, status."""
    new = new_versions(observed.model, observed.candidates, observed.versions, observed.live)
    observed = replace(observed, versions=(*reversed(new), *observed.versions), candidates=())
    observed = replace(observed, route=derive_route(observed))
    wanted = plan(observed, SETTINGS, ENDPOINT)
    routes = [route_config_map(observed.model, observed.route)] if observed.route else []
    objects = {
        "create": [revision(observed.model, v) for v in new],
        "apply": [*routes, *wanted.apply],
        "delete": [f"{o['kind']}/{o['metadata']['name']}" for o in wanted.delete],
    }
    return observed, derive_status(observed, now), objects


def outcome(name: str) -> tuple[Any, Any, Any]:
    """Return status, objects and events that the code answers to a case."""
    model, told, now = read(name)
    observed, status, objects = answer(observed_of(model, told), now)
    objects["apply"] = [o for o in objects["apply"] if not any(_is(c, o) and covers(c, o) for c in observed.children)]
    events = [f"{n.type} {n.reason}: {n.message}" for n in transitions(model.status, status)]
    return status.model_dump(mode="json", by_alias=True, exclude_none=True), objects, events


def read(name: str) -> tuple[IaCModel, dict[str, Any], datetime]:
    folder = HERE / name
    model = IaCModel.model_validate(_read(folder / "input.yaml"))
    return model, _read(folder / "observed.yaml") or {}, parse_timestamp((folder / "now").read_text().strip())


def merged(children: tuple[dict[str, Any], ...], objects: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return `children` with each of `objects` laid over what is known of it (its status, say)."""
    others = (c for c in children if not any(_is(c, o) for o in objects))
    return (*others, *({**next((c for c in children if _is(c, o)), {}), **o} for o in objects))


def _is(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["kind"] == other["kind"] and one["metadata"]["name"] == other["metadata"]["name"])


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    for file, found in zip(FILES, outcome(name), strict=True):
        assert found == _read(HERE / name / file), file


@pytest.mark.parametrize("name", CASES)
def test_nothing_changes_when_the_outcome_is_observed_again(name: str) -> None:
    """The hot-loop guard: with the answer written down, the next pass gives the same status and wants no new object."""
    model, told, now = read(name)
    observed, status, objects = answer(observed_of(model, told), now)
    kept = tuple(c for c in observed.children if f"{c['kind']}/{c['metadata']['name']}" not in objects["delete"])
    children = merged(kept, [*objects["create"], *objects["apply"]])
    again = observed_of(model.model_copy(update={"status": status}), {**told, "children": children, "applied": 0})
    again, status_again, objects_again = answer(again, now)
    assert (objects_again["create"], objects_again["delete"]) == ([], [])
    assert objects_again["apply"] == objects["apply"]
    expected = status if not objects["delete"] else status.model_copy(update={"versions": status_again.versions})
    assert status_again == expected


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
