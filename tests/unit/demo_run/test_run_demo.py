"""The demo's pure parts: what it installs, what it asks for, what it writes down."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest
import yaml

from loraform_api.finetunejob import FineTuneJob, FineTuneJobSpec
from loraform_api.iacmodel import IaCModel
from loraform_cli.object_state import ObjectState
from loraform_demo import run_cluster, run_report, run_store
from loraform_demo.run import QUICKSTART, shuffled_job
from loraform_demo.run_ask import excerpt
from loraform_demo.run_diagnose import condition_lines
from loraform_demo.run_kube import DemoError, Kube, call
from loraform_demo.run_steps import decided, require
from loraform_operator.settings import Profile

DIGEST = "sha256:" + "a" * 64
IMAGES = {
    name: f"127.0.0.1:5000/loraform/{name}@{DIGEST}"
    for name in ("operator", "trainer", "verifier", "gateway", "engine-cpu")
}
TIME = "2026-11-24T00:00:00Z"


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        (f"127.0.0.1:5000/loraform/trainer@{DIGEST}", ("127.0.0.1:5000", "loraform/trainer", None, DIGEST)),
        ("ghcr.io/loraform/trainer:0.1.0", ("ghcr.io", "loraform/trainer", "0.1.0", None)),
    ],
)
def test_a_reference_becomes_the_charts_values(reference: str, parts: tuple[str | None, ...]) -> None:
    found = run_cluster.split_reference(reference)
    assert tuple(found.get(key) for key in ("registry", "repository", "tag", "digest")) == parts


def test_the_cpu_profile_is_one_that_the_operator_reads() -> None:
    profile = run_cluster.chart_values(IMAGES)["profiles"]["cpu"]
    assert Profile.model_validate(profile).engine_image == IMAGES["engine-cpu"]
    assert Profile.model_validate(profile).gpu_resource_name is None


def test_the_loader_is_a_restricted_pod() -> None:
    spec = run_store.loader_pod("image")["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]


def test_the_archive_belongs_to_the_pods_user(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.setattr(run_store, "BASE_MODEL", tmp_path / "model")
    monkeypatch.setattr(run_store, "DATA", tmp_path / "model")
    with tarfile.open(fileobj=io.BytesIO(run_store.archive())) as tar:
        entries = tar.getmembers()
    assert {entry.name for entry in entries} == {"base-model", "base-model/config.json", "data", "data/config.json"}
    assert {(entry.uid, entry.gid) for entry in entries} == {(65532, 65532)}


def test_the_shuffled_job_differs_in_name_and_rows_alone() -> None:
    manifest = yaml.safe_load((QUICKSTART / "finetunejob.yaml").read_text())
    other = shuffled_job(manifest, 7)
    spec, other_spec = (FineTuneJobSpec.model_validate(m["spec"]) for m in (manifest, other))
    assert other["metadata"]["name"] == "picloud-shuffled-7"
    assert other_spec.dataset.sources[0].persistent_volume_claim != spec.dataset.sources[0].persistent_volume_claim
    assert other_spec.model_copy(update={"dataset": spec.dataset}) == spec


def model(decision: str | None, live: int | None, ready: str) -> IaCModel:
    """Return a model that has decided on job `lora`, or on none."""
    version = {"version": 1, "job": "lora", "digest": "a" * 64, "decision": decision}
    condition = {"type": "Ready", "status": ready, "reason": "Because", "lastTransitionTime": TIME}
    status = {"versions": [version] if decision else [], "liveVersion": live, "conditions": [condition]}
    metadata = {"name": "picloud", "namespace": "demo", "uid": "u", "creationTimestamp": TIME}
    return IaCModel.model_validate({"metadata": metadata, "spec": {}, "status": status})


@pytest.mark.parametrize(
    ("decision", "live", "ready", "expected"),
    [
        (None, None, "False", ObjectState.RUNNING),
        ("Accepted", None, "False", ObjectState.RUNNING),
        ("Accepted", 1, "False", ObjectState.RUNNING),
        ("Accepted", 1, "True", ObjectState.SUCCESS),
        ("MinimumsNotMet", None, "False", ObjectState.SUCCESS),
    ],
)
def test_an_accepted_candidate_must_answer_and_a_refused_one_need_not(
    decision: str | None, live: int | None, ready: str, expected: ObjectState
) -> None:
    assert decided(model(decision, live, ready), "lora") is expected
    assert decided(model(decision, live, ready), "another") is ObjectState.RUNNING


def test_no_success_is_an_error() -> None:
    require(ObjectState.SUCCESS, "it", 1)
    with pytest.raises(DemoError, match="it failed"):
        require(ObjectState.FAILURE, "it", 1)
    with pytest.raises(DemoError, match="after 1 s"):
        require(ObjectState.RUNNING, "it", 1)


def test_the_figures_hold_rates_by_arm_stage_and_form() -> None:
    quickstart = yaml.safe_load((QUICKSTART / "finetunejob.yaml").read_text())
    rate = {"stage": "Policy", "raw": "0.985", "served": "1"}
    evaluation = {
        "arms": [{"name": "Candidate", "rows": 200, "rates": [rate]}],
        "paired": {"reference": "Base", "bothPassed": 1, "candidateOnly": 2, "referenceOnly": 3, "neitherPassed": 4},
        "parityMaxDifference": "0.001",
    }
    meta = {**quickstart["metadata"], "uid": "u", "creationTimestamp": TIME}
    job = FineTuneJob.model_validate({**quickstart, "metadata": meta, "status": {"evaluation": evaluation}})
    found = run_report.figures(job, {"cluster": 7.0, "job": 100.5})
    assert found["seconds"] == {"cluster": 7.0, "job": 100.5, "total": 107.5}
    assert found["arms"]["Candidate"] == {"rows": 200, "raw": {"Policy": 0.985}, "served": {"Policy": 1.0}}
    assert found["paired"]["candidateOnly"] == 2


def test_metrics_are_shown_without_comments_buckets_and_zeros() -> None:
    page = (
        '# HELP loraform_x y\nworkqueue_adds_total 3.0\nloraform_x 1.0\nloraform_y 0.0\nloraform_t_bucket{le="1"} 2.0\n'
    )
    assert excerpt(page) == ["loraform_x 1.0", "workqueue_adds_total 3.0"]


def test_conditions_are_told_in_a_diagnosis() -> None:
    item = {"status": {"conditions": [{"type": "Stalled", "status": "True", "reason": "X", "message": "why"}]}}
    assert list(condition_lines(item)) == ["Stalled=True X: why"]


def test_a_failed_command_shows_what_it_said() -> None:
    with pytest.raises(DemoError, match=r"exit status 3[\s\S]*broken pipe dream"):
        call(["sh", "-c", "echo broken pipe dream >&2; exit 3"], timeout=10)
    with pytest.raises(DemoError, match="put it on PATH"):
        call(["no-such-program"], timeout=10)


def test_every_call_names_its_cluster() -> None:
    assert Kube("kubectl", "helm", kubeconfig="k", context="c").kubectl_command("get") == [
        "kubectl",
        "--kubeconfig=k",
        "--context=c",
        "get",
    ]


def test_samples_hold_every_arms_raw_text(tmp_path: Any) -> None:
    base = {"id": "s-1", "asked": {"types": []}, "arm": "BaseWithPolicy", "raw": "b", "adapterDigest": None}
    base["prompt"] = {"instruction": "i, with a comment", "input": ""}
    candidate = {**base, "arm": "Candidate", "raw": "c", "adapterDigest": "d"}
    rows = [base, {**candidate, "prompt": {"instruction": "i", "input": "n"}}]
    [sample] = run_report.samples("\n".join(json.dumps(row) for row in rows))
    assert sample["raw"] == {"BaseWithPolicy": "b", "Candidate": "c"}
    assert sample["prompt"] == "i\n\nn"
    assert sample["adapterDigest"] == "d"
    assert run_report.distinct([sample]) == (1, 1)
    run_report.write(tmp_path / "build" / "s.jsonl", [sample])
    assert json.loads((tmp_path / "build" / "s.jsonl").read_text()) == sample
