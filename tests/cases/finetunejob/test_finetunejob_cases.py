"""Life cycle of a FineTuneJob as golden cases: from what is observed to status and objects.

A case is a folder: `input.yaml` (the FineTuneJob), `observed.yaml` (everything else, see `observed_of`), `now`;
`status.yaml` and `objects.yaml` are the expected results. After an intended change generate those two again, and read
the diff: `python tests/cases/finetunejob/test_finetunejob_cases.py`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api.finetunejob import FineTuneJob
from loraform_api.meta import parse_timestamp
from loraform_api.run import FluxArtifact, TrainerStatus
from loraform_operator.context import Endpoint
from loraform_operator.endpoint.progress_store import ProgressReport
from loraform_operator.finetunejob.observe import Observed, target_model
from loraform_operator.finetunejob.plan import plan, render
from loraform_operator.finetunejob.status import derive_status
from loraform_operator.kube.apply import Plan
from loraform_operator.settings import Settings, load_settings

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


def observed_of(folder: Path, settings: Settings, now: datetime) -> Observed:
    """Build `Observed`. Keys of observed.yaml: rendered (the run ConfigMap exists), jobs, job (name of the one that
    is current), pods, model {spec, children}, missingClaims, flux, missingFlux, podsRefused, refused,
    progress {podUid, …}."""
    job = FineTuneJob.model_validate(_read(folder / "input.yaml"))
    facts = _read(folder / "observed.yaml") or {}
    jobs, pods = facts.get("jobs", []), facts.get("pods", [])
    model = facts.get("model")
    progress = facts.get("progress")
    observed = Observed(
        job=job,
        children=(*jobs, *pods),
        stage_job=next((j for j in jobs if j["metadata"]["name"] == facts.get("job")), None),
        pods=tuple(pods),
        model=model and target_model(model, model.get("children", [])),
        missing_claims=tuple(facts.get("missingClaims", ())),
        flux={name: FluxArtifact.model_validate(artifact) for name, artifact in facts.get("flux", {}).items()},
        missing_flux=tuple(facts.get("missingFlux", ())),
        pods_refused=facts.get("podsRefused", ""),
        refused=facts.get("refused", ""),
        progress=progress and ProgressReport(TrainerStatus.model_validate(progress["status"]), progress["podUid"], now),
    )
    if not facts.get("rendered"):
        return observed
    return Observed(**{**observed.__dict__, "run": render(observed, settings)})


def outcome(name: str, endpoint: Endpoint = ENDPOINT) -> tuple[Any, Any]:
    """Return the status and the objects of a case."""
    folder = HERE / name
    settings = load_settings(HERE / "settings.yaml")
    now = parse_timestamp((folder / "now").read_text().strip())
    observed = observed_of(folder, settings, now)
    status = derive_status(observed, settings, now)
    planned = plan(observed, status, settings, endpoint, now)
    return status.model_dump(mode="json", by_alias=True, exclude_none=True), _objects(planned)


def _objects(planned: Plan) -> dict[str, Any]:
    deleted = [f"{o['kind']}/{o['metadata']['name']}" for o in planned.delete]
    return {"apply": planned.apply, "create": planned.create, "delete": deleted}


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_case_has_expected_status_and_objects(name: str) -> None:
    status, objects = outcome(name)
    assert status == _read(HERE / name / "status.yaml")
    assert objects == _read(HERE / name / "objects.yaml")


@pytest.mark.parametrize("name", CASES)
def test_nothing_changes_when_the_outcome_is_observed_again(name: str) -> None:
    """The hot-loop guard: a status that was written is derived again from itself, apart from stages just recorded."""
    folder = HERE / name
    settings = load_settings(HERE / "settings.yaml")
    now = parse_timestamp((folder / "now").read_text().strip())
    observed = observed_of(folder, settings, now)
    status = derive_status(observed, settings, now)
    stage_moved = len(status.stages) != len(observed.job.status.stages) or "LostReport" in str(status.attempts)
    again = Observed(
        **{
            **observed.__dict__,
            "job": observed.job.model_copy(update={"status": status}),
            "stage_job": None if stage_moved else observed.stage_job,
        }
    )
    assert derive_status(again, settings, now) == status


@pytest.mark.parametrize("name", CASES)
def test_another_address_of_the_operator_changes_config_maps_and_network_policies_alone(name: str) -> None:
    (_, before), (_, after) = outcome(name), outcome(name, MOVED)
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
        for file, content in zip(("status.yaml", "objects.yaml"), outcome(name), strict=True):
            text = yaml.dump(content, Dumper=Dumper, sort_keys=False, width=120)
            (HERE / name / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    regenerate()
