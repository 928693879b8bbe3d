"""Runs of other shapes than the usual, on the real API server: several train pods, Flux sources, remote places."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from loraform_api import names
from loraform_api.names import RunStage

from ..waiting import wait_for
from .conftest import install
from .operator_runs import PREPARED, TRAINED, Operator, Run

FLUX = ("source.toolkit.fluxcd.io", "v1", "gitrepositories")
FLUX_DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{FLUX[2]}.{FLUX[0]}"},
    "spec": {
        "group": FLUX[0],
        "names": {"plural": FLUX[2], "kind": "GitRepository"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": FLUX[1],
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}
"""As much of Flux's definition as a run meets: the status of a source object."""


@pytest.fixture
def run(api: client.ApiClient, operator: Operator) -> Run:
    made = Run(api, operator.take_namespace())
    made.create_claim()
    return made


@pytest.fixture
def flux(api: client.ApiClient) -> client.CustomObjectsApi:
    install(client.ApiextensionsV1Api(api), FLUX_DEFINITION)
    return client.CustomObjectsApi(api)


def test_two_train_pods_are_one_job_that_the_pod_with_index_zero_reports_for(operator: Operator, run: Run) -> None:
    placement = {"nodes": 2, "nodeSelector": {"loraform.dev/test": "no-such-node"}}
    run.create(placement=placement, workspace={"accessMode": "ReadWriteMany"})
    run.end("prepare", PREPARED)
    uid = run.get()["metadata"]["uid"]
    job = names.stage_job_name("style", uid, RunStage.TRAIN)
    spec = wait_for("the train Job", lambda: run.batch.read_namespaced_job(job, run.namespace)).spec
    assert (spec.completion_mode, spec.completions, spec.parallelism) == ("Indexed", 2, 2)
    service = run.core.read_namespaced_service(names.rendezvous_name("style", uid), run.namespace)
    assert service.spec.cluster_ip == "None"

    lost = {"stage": "train", "exitCode": 86, "message": "train pod 1 does not answer", "resumedFromStep": 5}
    first = run.end("train", lost, code=86)
    wait_for("the attempt", lambda: [(a["pod"], a["reason"]) for a in run.status["attempts"]] == [(first, "PeerLost")])
    assert run.condition("Succeeded")["status"] == "Unknown"
    quiet = {"stage": "train", "message": "trained with pod 0"}
    for index, report in ((1, quiet), (0, TRAINED)):
        selector = f"batch.kubernetes.io/job-completion-index={index}"
        pods = wait_for("a pod of that index", lambda s=selector: _waiting(run, s))
        assert pods[0].spec.subdomain == service.metadata.name
        run.end_pod(pods[0].metadata.name, "train", report)
    wait_for("the record", lambda: [s["name"] for s in run.status["stages"]] == ["prepare", "train"])
    assert run.status["training"]["steps"] == 10


def _waiting(run: Run, selector: str) -> list[Any]:
    found = run.core.list_namespaced_pod(run.namespace, label_selector=selector).items
    return [p for p in found if p.status.phase == "Pending"]


def test_a_run_waits_for_a_flux_source_and_reads_what_it_offers_when_it_begins(
    operator: Operator, run: Run, flux: client.CustomObjectsApi
) -> None:
    source = {"kind": "GitRepository", "name": "pairs", "path": "rows.jsonl"}
    run.create(dataset={"sources": [{"name": "pairs", "fluxSource": source}]})
    waiting = run.await_condition("Ready", "False", "MissingReference")
    assert "GitRepository `pairs` (spec.dataset.sources[pairs]) has no artifact" in waiting["message"]

    group, version, plural = FLUX
    body = {"apiVersion": f"{group}/{version}", "kind": "GitRepository", "metadata": {"name": "pairs"}}
    flux.create_namespaced_custom_object(group, version, run.namespace, plural, body)
    artifact = {
        "url": "http://source-controller.flux-system.svc.cluster.local./gitrepository/x/pairs/1.tar.gz",
        "digest": f"sha256:{'5' * 64}",
        "revision": "main@sha1:1",
    }
    flux.patch_namespaced_custom_object_status(
        group,
        version,
        run.namespace,
        plural,
        "pairs",
        {"status": {"artifact": artifact}},
        _content_type="application/merge-patch+json",
    )
    prefix = names.run_prefix("style", run.get()["metadata"]["uid"])
    wait_for("the prepare Job", lambda: f"{prefix}-prepare" in run.jobs())
    told = run.core.read_namespaced_config_map(f"{prefix}-run", run.namespace).data[names.RUN_CONFIG_FILE]
    assert artifact["url"] in told
    assert "5" * 64 in told


def test_a_pod_with_remote_places_is_admitted_and_asks_for_no_secret_that_must_exist(
    operator: Operator, run: Run
) -> None:
    run.create(
        baseModel={
            "storageUri": "s3://models/tiny",
            "endpoint": "https://minio.example",
            "secretRef": {"name": "minio"},
        },
        output={"storageUri": "oci://registry.example/adapters", "secretRef": {"name": "registry"}},
        cache={"claimName": "models"},
    )
    run.await_condition("Ready", "False", "Unschedulable")
    pod = run.pod("prepare")
    (access,) = (v for v in pod.spec.volumes if v.name == "base-access")
    assert access.projected.sources[0].secret.optional
