"""A FineTuneJob on the real API server with the real operator process and the real Job controller.

No node ever fits the pods (an impossible node selector), so that the tests can end them by hand: each writes the
status that a kubelet would have written.
"""

from __future__ import annotations

import signal

import pytest
from kubernetes import client

from loraform_api import names
from loraform_api.endpoint import OperatorEndpoint

from ..waiting import wait_for
from .operator_runs import EVALUATED, GROUP, JOBS, PREPARED, TRAINED, Operator, Run, post


@pytest.fixture
def run(api: client.ApiClient, operator: Operator) -> Run:
    return Run(api, operator.take_namespace())


def event_reasons(run: Run) -> set[str]:
    return {event.reason for event in run.core.list_namespaced_event(run.namespace).items}


def test_a_run_goes_through_its_stages_and_survives_kills_of_the_operator(operator: Operator, run: Run) -> None:
    run.create_claim()
    run.create()
    run.pod("prepare")
    prefix = names.run_prefix("style", run.get()["metadata"]["uid"])

    operator.stop(signal.SIGKILL)  # during prepare, which ends meanwhile
    run.end("prepare", PREPARED)
    operator.start()
    run.await_condition("DatasetReady", "True", "Prepared")
    stopped = {"stage": "train", "exitCode": 85, "message": "saved at step 5", "resumedFromStep": 0}
    wait_for("the end of the prepare Job", lambda: f"{prefix}-prepare" not in run.jobs())
    train = run.jobs()
    first = run.end("train", stopped, code=85)
    wait_for("the attempt", lambda: [a["pod"] for a in run.status["attempts"]] == [first])
    wait_for("the attempt's event, which the kill must not overtake", lambda: "SavedAndStopped" in event_reasons(run))
    operator.stop(signal.SIGKILL)
    operator.start()
    assert run.jobs() == train, "the same Job goes on with another pod"
    run.end("train", TRAINED)
    run.end("evaluate", EVALUATED)
    path = f"adapters/{prefix}"
    published = {"uri": f"pvc://models/{path}", "digest": "a" * 64, "sizeBytes": 5}
    run.end("publish", {"stage": "publish", "message": "published", "publish": published})
    run.await_condition("Succeeded", "True", "Succeeded")

    status = run.status
    assert [s["name"] for s in status["stages"]] == ["prepare", "train", "evaluate", "publish"]
    assert status["artifact"]["uri"] == f"pvc://models/{path}"
    assert status["evaluation"]["arms"][0]["rates"][1] == {"stage": "All", "raw": "0.9500", "served": "0.9750"}
    assert [(a["reason"], a["exitCode"]) for a in status["attempts"]] == [("SavedAndStopped", 85)]
    assert {c["type"] for c in status["conditions"]} == {"Ready", "Succeeded", "DatasetReady"}
    wait_for("the end of all Jobs", lambda: not run.jobs())
    assert {"PrepareFinished", "TrainFinished", "SavedAndStopped", "Succeeded"} <= event_reasons(run)
    assert 'loraform_evaluation_rate{arm="Candidate",form="raw",name="style"' in (operator.fetch("/metrics") or "")


def test_a_missing_claim_is_named_and_the_run_goes_on_when_it_comes(operator: Operator, run: Run) -> None:
    run.create()
    found = run.await_condition("Ready", "False", "VolumeNotBound")
    assert "`models` (spec.baseModel.storageUri) does not exist" in found["message"]
    assert run.jobs() == {}
    run.create_claim()
    run.pod("prepare")


def test_invalid_rows_fail_the_run_at_once(operator: Operator, run: Run) -> None:
    run.create_claim()
    run.create()
    message = "0 of 10 rows remain"
    run.end("prepare", {"stage": "prepare", "exitCode": 65, "message": message}, code=65)
    found = run.await_condition("Stalled", "True", "DatasetInvalid")
    assert message in found["message"]
    assert (run.condition("Succeeded")["status"], run.condition("DatasetReady")["status"]) == ("False", "False")
    assert len(run.core.list_namespaced_pod(run.namespace).items) == 1, "the failed pod stays, no other came"


def test_progress_needs_a_token_of_the_runs_own_pod(operator: Operator, run: Run) -> None:
    run.create_claim()
    run.create()
    pod = run.pod("prepare")
    meta = run.get()["metadata"]
    config = run.core.read_namespaced_config_map(f"{names.run_prefix('style', meta['uid'])}-endpoint", run.namespace)
    endpoint = OperatorEndpoint.model_validate_json(config.data[names.ENDPOINT_FILE])
    service = run.core.read_namespaced_service(names.SERVICE_OPERATOR, operator.namespace)
    path = names.progress_path(run.namespace, "style")
    assert endpoint.url == f"https://{service.spec.cluster_ip}:9443{path}"

    def token(audience: str) -> str:
        reference = {"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.metadata.uid}
        spec = {"audiences": [audience], "boundObjectRef": reference}
        account = pod.spec.service_account_name
        made = run.core.create_namespaced_service_account_token(account, run.namespace, {"spec": spec})
        return str(made.status.token)

    def report(bearer: str, percentage: int) -> int:
        told = {"trainerStatus": {"progressPercentage": percentage, "metrics": [{"name": "loss", "value": "0.5"}]}}
        return post(endpoint, bearer, told)[0]

    wait_for("kube-proxy to know the Service", lambda: report("none", 0))
    good = token(names.audience(run.namespace, "style", meta["uid"]))
    assert report(token("https://kubernetes.default.svc"), 1) == 401
    assert report(good[:-4] + "AAAA", 1) == 401
    assert report(good, 42) == 200
    assert report(good, 43) == 429
    wait_for("progress in status", lambda: run.status["progress"]["percentage"] == 42)
    assert "loraform_finetunejob_progress_ratio" in (operator.fetch("/metrics") or "")


def test_deleting_needs_no_operator(operator: Operator, run: Run) -> None:
    run.create_claim()
    run.create()
    run.pod("prepare")
    assert operator.stop() == 0
    run.custom.delete_namespaced_custom_object(*GROUP, run.namespace, JOBS, "style")
    with pytest.raises(client.ApiException, match="404"):
        run.get()
    wait_for("garbage collection of the run's objects", lambda: not run.jobs())


def test_a_refused_pod_is_told(operator: Operator, run: Run) -> None:
    hard = {"spec": {"hard": {"pods": "0"}}, "metadata": {"name": "none"}}
    run.core.create_namespaced_resource_quota(run.namespace, hard)
    run.create_claim()
    wait_for("the quota", lambda: run.core.read_namespaced_resource_quota("none", run.namespace).status.hard)
    run.create()
    found = run.await_condition("Ready", "False", "PodsNotCreated")
    assert "exceeded quota: none" in found["message"]
