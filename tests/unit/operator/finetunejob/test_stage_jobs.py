"""Pods of the stages beyond the golden cases: mounts of sources, suites, packs and credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api.finetunejob import FineTuneJob
from loraform_api.names import RunStage
from loraform_operator.finetunejob.observe import Observed
from loraform_operator.finetunejob.plan import render
from loraform_operator.finetunejob.stage_jobs import stage_job
from loraform_operator.settings import load_settings

CASES = Path(__file__).parents[3] / "cases" / "finetunejob"


def a_job() -> dict[str, Any]:
    """Return the body of a job."""
    body: dict[str, Any] = yaml.safe_load((CASES / "01-first-visit" / "input.yaml").read_text())
    return body


def pod_of(body: dict[str, Any], stage: RunStage) -> dict[str, Any]:
    """Return the pod of one stage of a job."""
    job = FineTuneJob.model_validate(body)
    run = render(Observed(job), load_settings(CASES / "settings.yaml"))
    pod: dict[str, Any] = stage_job(job, stage, 0, run)["spec"]["template"]["spec"]
    return pod


def prepare_pod(sources: list[dict[str, Any]], suites: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the pod of `prepare` of a run with these sources and suites."""
    body = a_job()
    body["spec"]["dataset"]["sources"] = sources
    body["spec"]["evaluation"]["suites"] = suites
    return pod_of(body, RunStage.PREPARE)


def config_maps(pod: dict[str, Any]) -> dict[str, str]:
    """Return the name of the ConfigMap behind each mount path."""
    volumes = {v["name"]: v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
    for volume in pod["volumes"]:
        for part in volume.get("projected", {}).get("sources", []):
            if "configMap" in part:
                volumes[volume["name"]] = part["configMap"]["name"]
    mounts = [(m["mountPath"], m["name"]) for m in pod["containers"][0]["volumeMounts"]]
    assert len(dict(mounts)) == len(mounts), "the API server refuses a path that is mounted twice"
    return {path: volumes[name] for path, name in mounts if name in volumes}


def http(name: str, ca: str) -> dict[str, Any]:
    location = {"url": "https://files.example/rows", "sha256": "0" * 64, "caConfigMapRef": {"name": ca}}
    return {"name": name, "http": location}


def git(name: str, ca: str) -> dict[str, Any]:
    location = {"url": "https://git.example/r", "commit": "0" * 40, "path": "s.jsonl", "caConfigMapRef": {"name": ca}}
    return {"name": name, "git": location}


def test_a_source_and_a_suite_of_the_same_name_have_their_own_ca() -> None:
    mounted = config_maps(prepare_pod([http("pairs", "files-ca")], [git("pairs", "git-ca")]))
    assert mounted["/mnt/sources/pairs"] == "files-ca"
    assert mounted["/mnt/suites/pairs"] == "git-ca"


def test_each_source_is_mounted_at_its_name() -> None:
    rows = {"name": "rows", "configMap": {"name": "some-rows", "key": "rows.jsonl"}}
    claim = {"name": "claim", "persistentVolumeClaim": {"claimName": "data", "path": "rows.jsonl"}}
    pod = prepare_pod([rows, claim, http("far", "files-ca")], [rows])
    mounted = config_maps(pod)
    assert mounted["/mnt/sources/rows"] == mounted["/mnt/suites/rows"] == "some-rows"
    assert mounted["/mnt/sources/far"] == "files-ca"
    (volume,) = (m["name"] for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == "/mnt/sources/claim")
    (claimed,) = (v["persistentVolumeClaim"] for v in pod["volumes"] if v["name"] == volume)
    assert claimed["claimName"] == "data"


def test_policy_packs_are_optional_in_prepare_and_required_in_the_verifier() -> None:
    body = a_job()
    pack = {"name": "cost", "configMap": {"name": "house", "key": "cost.rego"}}
    body["spec"]["policy"] = {"packs": [pack]}
    prepare, evaluate = (pod_of(body, stage) for stage in (RunStage.PREPARE, RunStage.EVALUATE))
    verifier = next(c for c in evaluate["initContainers"] if c["name"] == "verifier")
    mount = {"name": "pack-0", "mountPath": "/mnt/packs/cost", "readOnly": True}
    assert mount in prepare["containers"][0]["volumeMounts"]
    assert mount in verifier["volumeMounts"]
    assert verifier["args"] == ["serve", "--packs", "/mnt/packs"]
    items = [{"key": "cost.rego", "path": "pack.rego"}]
    for pod, optional in ((prepare, True), (evaluate, False)):
        volume = {"name": "pack-0", "configMap": {"name": "house", "optional": optional, "items": items}}
        assert volume in pod["volumes"]
    assert not any("pack" in m["name"] for m in evaluate["containers"][0]["volumeMounts"])


def test_only_fixed_keys_of_a_secret_are_mounted_and_all_are_optional() -> None:
    source = {**http("pairs", "files-ca")}
    source["http"]["secretRef"] = {"name": "files"}
    pod = prepare_pod([source], [a_job()["spec"]["evaluation"]["suites"][0]])
    (volume,) = (v for v in pod["volumes"] if v["name"] == "source-0")
    (secret,) = (part["secret"] for part in volume["projected"]["sources"] if "secret" in part)
    keys = ("token", "username", "password", "accessKeyId", "secretAccessKey", "sessionToken")
    assert secret == {"name": "files", "optional": True, "items": [{"key": key, "path": key} for key in keys]}


@pytest.mark.parametrize(("validity", "percent", "expected"), [("Off", 0, False), ("Fail", 5, True), ("Drop", 0, True)])
def test_prepare_has_a_verifier_when_it_runs_terraform(validity: str, percent: int, expected: bool) -> None:
    body = a_job()
    body["spec"]["dataset"] |= {"checks": {"validity": validity}, "repairExamples": {"percent": percent}}
    assert bool(pod_of(body, RunStage.PREPARE).get("initContainers")) is expected


def test_only_publish_has_credentials_of_the_remote_store() -> None:
    body = a_job()
    body["spec"]["output"] = {"storageUri": "s3://adapters/style", "secretRef": {"name": "minio"}}
    mounts = {
        stage: {m["mountPath"] for m in pod_of(body, stage)["containers"][0]["volumeMounts"]} for stage in RunStage
    }
    assert [stage for stage in RunStage if "/mnt/access/output" in mounts[stage]] == [RunStage.PUBLISH]
    assert not any("/mnt/output" in paths for paths in mounts.values())


def test_processes_of_a_single_pod_meet_on_loopback() -> None:
    body = a_job()
    body["spec"]["placement"] = {"profile": "l4", "gpus": 2}
    env = {e["name"]: e.get("value") for e in pod_of(body, RunStage.TRAIN)["containers"][0]["env"]}
    assert (env["LORAFORM_NODES"], env["LORAFORM_PROCESSES"], env["LORAFORM_MASTER"]) == ("1", "2", "127.0.0.1")
