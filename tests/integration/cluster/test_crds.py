"""The CRDs as the real API server sees them: accepted, defaulted, refused with words that help, and kept whole."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from kubernetes import client

Body = dict[str, Any]
JOB: Body = {
    "apiVersion": "loraform.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "job"},
    "spec": {
        "baseModel": {"storageUri": "pvc://store/base"},
        "dataset": {"sources": [{"name": "rows", "configMap": {"name": "rows", "key": "rows.jsonl"}}]},
        "evaluation": {"suites": [{"name": "held-out", "configMap": {"name": "suite", "key": "suite.jsonl"}}]},
        "output": {"storageUri": "pvc://store/adapters"},
    },
}
DIGEST = "0" * 64
NOW = "2026-01-01T00:00:00Z"


def create(api: client.ApiClient, namespace: str, body: Body, *, dry_run: bool = True) -> Body:
    kind = body["kind"].lower() + "s"
    options = {"dry_run": "All"} if dry_run else {}
    result: Body = client.CustomObjectsApi(api).create_namespaced_custom_object(
        "loraform.dev", "v1alpha1", namespace, kind, body, field_validation="Strict", **options
    )
    return result


def with_spec(**changes: Any) -> Body:
    body = copy.deepcopy(JOB)
    body["spec"].update(changes)
    return body


def refusal(api: client.ApiClient, namespace: str, body: Body) -> str:
    with pytest.raises(client.ApiException) as failure:
        create(api, namespace, body)
    return str(json.loads(failure.value.body)["message"])


def test_defaults_stand_in_the_stored_object(api: client.ApiClient, namespace: str) -> None:
    spec = create(api, namespace, JOB)["spec"]
    assert spec["lora"] == {
        "rank": 32, "alpha": 32, "scaling": "Standard", "variant": "Standard", "start": "Fresh",
        "targetModules": [], "modulesToSave": [],
    }  # fmt: skip
    assert spec["dataset"]["checks"]["validity"] == "Drop"
    assert spec["dataset"]["sources"][0]["columns"]["messages"] == "messages"
    assert spec["training"]["learningRate"] == "2e-4"
    assert "modelRef" not in spec


SOURCE = {"name": "rows", "configMap": {"name": "rows", "key": "k"}}
HTTP = {"url": "https://example.org/rows.jsonl", "sha256": DIGEST}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora": {"rank": 0}}, "spec.lora.rank in body should be greater than or equal to 1"),
        ({"lora": {"rank": "many"}}, 'spec.lora.rank in body must be of type integer: "string"'),
        ({"training": {"learningRate": "fast"}}, "must be a number written as text, for example '2e-4'"),
        (
            {"placement": {"nodes": 2}},
            "`workspace.accessMode` must be 'ReadWriteMany' when `placement.nodes` is greater",
        ),
        (
            {"checkpoint": {"candidates": 2}, "dataset": {**JOB["spec"]["dataset"], "validationPercent": 0}},
            "`dataset.validationPercent` must be greater than 0 where `checkpoint.candidates`",
        ),
        (
            {"dataset": {**JOB["spec"]["dataset"], "checks": {"validity": "Off"}, "repairExamples": {"percent": 5}}},
            "`checks.validity` must not be 'Off' where `repairExamples.percent`",
        ),
        (
            {"modelRef": {"name": "m"}, "output": {**JOB["spec"]["output"], "merge": True}},
            "`output.merge` must be false where `modelRef` is set",
        ),
        ({"lora": {"variant": "DoRA"}}, "`lora.variant: DoRA` and `lora.modulesToSave` need `output.merge: true`"),
        ({"lora": {"modulesToSave": ["norm"]}}, "`lora.variant: DoRA` and `lora.modulesToSave` need"),
        (
            {"output": {**JOB["spec"]["output"], "merge": True}, "checkpoint": {"candidates": 2}},
            "`checkpoint.candidates` must be 1 where `output.merge` is true",
        ),
        (
            {
                "policy": {"packs": [{"name": "cost", "configMap": {"name": "house", "key": "cost.rego"}}]},
                "evaluation": {"suites": [{**SOURCE, "stages": ["Parse", "Policy"]}]},
            },
            "`evaluation.suites[].stages` must have 'Plan' beside 'Policy' where `policy.packs` is set",
        ),
        ({"baseModel": {"storageUri": "hf://owner/name"}}, "`revision` must be set for `hf://`"),
        (
            {"modelRef": {"name": "m"}, "output": {"storageUri": "s3://bucket/adapters"}},
            "must be `pvc://` where `modelRef` is set",
        ),
        ({"baseModel": {"storageUri": "ftp://host/base"}}, "must begin with a known scheme: 'pvc', 'hf', 's3', 'oci'"),
        ({"baseModel": {"storageUri": "pvc://store/../etc"}}, "must not contain '..'"),
        ({"dataset": {"sources": [{**SOURCE, "http": HTTP}]}}, "exactly one of `http`, `git`, `s3`"),
        ({"dataset": {"sources": [{"name": "none"}]}}, "exactly one of `http`, `git`, `s3`"),
        ({"dataset": {"sources": [SOURCE, SOURCE]}}, "Duplicate value"),
        (
            {"dataset": {"sources": [{"name": "plain", "http": {**HTTP, "url": "http://example.org/x"}}]}},
            "url in body should match",
        ),
        ({"policy": {"tags": {"": "x"}}}, "keys must have 1 to 128 characters"),
        ({"epochs": 3}, 'unknown field "spec.epochs"'),
    ],
)
def test_a_bad_spec_is_refused_in_words_that_help(
    api: client.ApiClient, namespace: str, changes: Body, words: str
) -> None:
    assert words in refusal(api, namespace, with_spec(**changes))


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ({"cors": {"allowedOrigins": ["https://a.example", "*"]}}, "'*' allows all origins: it must be the only entry"),
        ({"cors": {"allowedOrigins": ["https://a.example/chat"]}}, "should match"),
        ({"cors": {"allowedOrigins": []}}, "should have at least 1 items"),
        ({"cors": {"allowedOrigins": ["*", "*"]}}, "Duplicate value"),
        ({"apiKeySecretRef": {"name": "keys", "key": "token"}}, 'unknown field "spec.serving.apiKeySecretRef.key"'),
        ({"apiKeySecretRef": {}}, "spec.serving.apiKeySecretRef.name: Required value"),
        ({"tls": {}}, "spec.serving.tls.secretRef: Required value"),
        ({"limits": {"requestsInFlight": 0}}, "should be greater than or equal to 1"),
    ],
)
def test_bad_serving_is_refused_in_words_that_help(
    api: client.ApiClient, namespace: str, serving: Body, words: str
) -> None:
    model = {**JOB, "kind": "IaCModel", "metadata": {"name": "model"}, "spec": {"serving": serving}}
    assert words in refusal(api, namespace, model)


@pytest.mark.parametrize(
    ("kind", "length", "words"), [("FineTuneJob", 41, "at most 40"), ("IaCModel", 31, "at most 30")]
)
def test_names_are_short_enough_for_children(
    api: client.ApiClient, namespace: str, kind: str, length: int, words: str
) -> None:
    body = {
        **JOB,
        "kind": kind,
        "metadata": {"name": "n" * length},
        "spec": JOB["spec"] if kind == "FineTuneJob" else {},
    }
    assert words in refusal(api, namespace, body)


def test_a_run_is_immutable_but_for_its_deadline(api: client.ApiClient, namespace: str) -> None:
    create(api, namespace, JOB, dry_run=False)
    custom = client.CustomObjectsApi(api)
    where = ("loraform.dev", "v1alpha1", namespace, "finetunejobs", "job")
    custom.patch_namespaced_custom_object(
        *where, {"spec": {"activeDeadlineSeconds": 3600}}, _content_type="application/merge-patch+json"
    )
    for change in ({"lora": {"rank": 8}}, {"policy": {"comment": "# ours"}}, {"modelRef": {"name": "m"}}):
        with pytest.raises(client.ApiException) as failure:
            custom.patch_namespaced_custom_object(
                *where, {"spec": change}, _content_type="application/merge-patch+json"
            )
        assert "is immutable: create a new FineTuneJob" in json.loads(failure.value.body)["message"]


JOB_STATUS: Body = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "observedGeneration": 1,
            "lastTransitionTime": NOW,
            "reason": "Training",
            "message": "m",
        }
    ],
    "phase": "Training",
    "progress": {
        "percentage": 5,
        "estimatedRemainingSeconds": 9,
        "metrics": [{"name": "loss", "value": "0.1"}],
        "lastUpdatedTime": NOW,
    },
    "stages": [{"name": "prepare", "startTime": NOW, "completionTime": NOW, "summary": "s"}],
    "attempts": [
        {
            "stage": "train",
            "pod": "p",
            "reason": "OutOfMemory",
            "exitCode": 137,
            "message": "m",
            "hint": "h",
            "resumedFromStep": 4,
            "finishTime": NOW,
        }
    ],
    "dataset": {
        "digest": DIGEST,
        "rows": [{"name": "Read", "rows": 7}],
        "tokens": 900,
        "warnings": ["fewer than 500 rows"],
        "cached": True,
    },
    "training": {
        "steps": 9,
        "finalLoss": "0.1",
        "validationLoss": "0.2",
        "trainedTokens": 800,
        "tokensPerSecond": "1200.5",
        "flopsUtilization": "0.4",
        "fill": "0.9981",
        "stoppedEarly": True,
    },
    "forgetting": {"meanDifference": "-0.1", "low": "-0.2", "high": "0.1", "prompts": 60},
    "evaluation": {
        "selection": [{"step": 50, "rows": 90, "passed": 80}],
        "arms": [
            {
                "name": "Base",
                "promptTemplate": "Chat",
                "rows": 9,
                "rates": [{"stage": "All", "raw": "0.5", "served": "1"}],
                "truncated": 1,
                "inconclusive": 2,
                "hallucinationRate": "0.1",
                "policyLapses": 2,
                "passAtK": [{"k": 5, "rate": "0.5", "low": "0.4", "high": "0.6"}],
            }
        ],
        "paired": {
            "reference": "Base",
            "bothPassed": 1,
            "candidateOnly": 2,
            "referenceOnly": 3,
            "neitherPassed": 4,
            "designEffect": "2.5",
        },
        "liveDigest": DIGEST,
        "suiteDigest": DIGEST,
        "parityMaxDifference": "1.5e-05",
    },
    "artifact": {"uri": "pvc://store/adapters/job-1", "digest": DIGEST, "sizeBytes": 5},
    "provenance": {
        "runConfig": "job-run",
        "images": [{"name": "trainer", "image": "i"}],
        "engineDtype": "bfloat16",
        "baseDigest": DIGEST,
        "templateHash": DIGEST,
        "toolchain": "terraform 1.11.4",
    },
}
MODEL_STATUS: Body = {
    "observedGeneration": 1,
    "conditions": JOB_STATUS["conditions"],
    "liveVersion": 2,
    "endpoint": {"url": "http://model.ns.svc", "authentication": "ApiKey"},
    "replicas": 1,
    "selector": "a=b",
    "versions": [
        {"version": 2, "job": "job", "digest": DIGEST, "decision": "Accepted", "message": "m", "suiteDecisions": 2}
    ],
}


@pytest.mark.parametrize(
    ("body", "status"),
    [(JOB, JOB_STATUS), ({**JOB, "kind": "IaCModel", "metadata": {"name": "model"}, "spec": {}}, MODEL_STATUS)],
    ids=["FineTuneJob", "IaCModel"],
)
def test_no_status_field_is_pruned(api: client.ApiClient, namespace: str, body: Body, status: Body) -> None:
    create(api, namespace, body, dry_run=False)
    stored = client.CustomObjectsApi(api).patch_namespaced_custom_object_status(
        "loraform.dev",
        "v1alpha1",
        namespace,
        body["kind"].lower() + "s",
        body["metadata"]["name"],
        {"status": status},
        _content_type="application/merge-patch+json",
    )
    assert stored["status"] == status
