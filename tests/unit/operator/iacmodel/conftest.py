"""Builders of a model, its jobs with their evaluations, versions and heartbeats."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from loraform_api.finetunejob import FineTuneJob
from loraform_api.heartbeat import Heartbeat, LoadedAdapter, Route
from loraform_api.iacmodel import Decision, IaCModel, VersionRecord
from loraform_operator.iacmodel.observe import Observed
from loraform_operator.settings import Profile

POLICY = {"comment": "# house", "tags": {"created_by": "PiCloud"}}

PROFILE = Profile(engine_image="engine:1", engine_dtype="float32")


def digest(number: int) -> str:
    return f"{number:x}" * 64


def rate(passed: int, rows: int) -> str:
    return f"{passed * 10000 // rows / 10000:.4f}"


def model(**spec: Any) -> IaCModel:
    body = {
        "metadata": {
            "name": "house",
            "namespace": "demo",
            "uid": "model-uid",
            "generation": 3,
            "creationTimestamp": "t",
        },
        "spec": {"policy": POLICY, **spec},
    }
    return IaCModel.model_validate(body)


def evaluation(
    gained: int = 90,
    lost: int = 2,
    both: int = 300,
    neither: int = 8,
    *,
    live: str | None = None,
    policy_lapses: int = 0,
    **raw: str,
) -> dict[str, Any]:
    """An evaluation of 400 rows; `raw` overrides a stage's raw rate."""
    rows = gained + lost + both + neither
    passed = rate(both + gained, rows)
    stages = {"Parse": "1.0000", "Validate": "0.9900", "Policy": "0.9800", "Intent": "0.9700", **raw, "All": passed}
    rates = [{"stage": s, "raw": r, "served": r} for s, r in stages.items() if r]
    candidate = {"name": "Candidate", "rows": rows, "rates": rates, "policyLapses": policy_lapses}
    return {
        "arms": [{"name": "Base", "rows": rows, "rates": []}, candidate],
        "paired": {
            "reference": "Live" if live else "Base",
            "bothPassed": both,
            "candidateOnly": gained,
            "referenceOnly": lost,
            "neitherPassed": neither,
        },
        **({"liveDigest": live} if live else {}),
        "parityMaxDifference": "0.001",
    }


def job(number: int, *, minute: int | None = None, reference: str | None = "house", **parts: Any) -> FineTuneJob:
    """A succeeded job; its adapter has `digest(number)` and it ended in minute `minute` of the hour."""
    ended = f"2026-01-01T00:{number if minute is None else minute:02d}:00Z"
    source = {"name": "rows", "configMap": {"name": "rows", "key": "rows.jsonl"}}
    succeeded = {
        "type": "Succeeded",
        "status": parts.get("succeeded", "True"),
        "reason": "R",
        "lastTransitionTime": ended,
    }
    body = {
        "metadata": {"name": f"job-{number}", "namespace": "demo", "uid": f"uid-{number}", "creationTimestamp": ended},
        "spec": {
            **({"modelRef": {"name": reference}} if reference else {}),
            "baseModel": {"storageUri": "pvc://bases/tiny"},
            "dataset": {"sources": [source]},
            "evaluation": {"suites": [source]},
            "output": {"storageUri": "pvc://store/adapters"},
        },
        "status": {
            "conditions": [succeeded],
            "stages": [{"name": "publish", "startTime": ended, "completionTime": ended}],
            "evaluation": parts.get("evaluation", evaluation()),
            "artifact": {"uri": f"pvc://store/adapters/job-{number}", "digest": digest(number), "sizeBytes": 1},
            "provenance": {
                "runConfig": "r",
                "engineDtype": "float32",
                "baseDigest": digest(14),
                "templateHash": digest(15),
            },
        },
    }
    return FineTuneJob.model_validate(body)


def version(number: int, decision: Decision = Decision.ACCEPTED, **fields: Any) -> VersionRecord:
    known = {
        "version": number,
        "job": f"job-{number}",
        "job_uid": f"uid-{number}",
        "completion_time": f"2026-01-01T00:{number:02d}:00Z",
        "base_model_uri": "pvc://bases/tiny",
        "base_digest": digest(14),
        "template_hash": digest(15),
        "artifact_uri": f"pvc://store/adapters/job-{number}",
        "artifact_digest": digest(number),
        "rank": 16,
        "max_new_tokens": 1024,
        "engine_dtype": "float32",
        "decision": decision,
        "message": "numbers",
    }
    return VersionRecord(**{**known, **fields})


def route(live: int | None, *others: int) -> Route:
    adapters = [
        {
            "version": n,
            "digest": digest(n),
            "path": f"/mnt/store/store/adapters/job-{n}",
            "templateHash": digest(15),
            "maxNewTokens": 1024,
            "created": 1767225600 + 60 * n,
        }
        for n in ((live, *others) if live else others)
    ]
    body = {"revision": "r", "model": "house", "basePath": "/mnt/base/tiny", "adapters": adapters, "policy": POLICY}
    return Route.model_validate({**body, **({"live": digest(live)} if live else {})})


def agent(**states: str) -> Heartbeat:
    """An agent's heartbeat; `v2="Ready"` means that version 2's adapter is ready."""
    adapters = [
        LoadedAdapter(digest=digest(int(name[1:])), state=state.split(":")[0], message=state.partition(":")[2])
        for name, state in states.items()
    ]
    return Heartbeat(role="agent", pod="pod", adapters=adapters)


def deployment(name: str, ready: int, replicas: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "demo", "uid": name},
        "spec": {"replicas": replicas},
        "status": {"readyReplicas": ready, "replicas": replicas},
    }


def observed(**parts: Any) -> Observed:
    """A model that serves with one engine pod, as observed; `agents` are heartbeats."""
    agents = {str(i): beat for i, beat in enumerate(parts.pop("agents", []))}
    ready = parts.pop("ready", 1)
    children = parts.pop("children", (deployment("house-engine", ready), deployment("house-gateway", 1)))
    return Observed(**{"model": model(), "profile": PROFILE, **parts, "agents": agents, "children": children})


@pytest.fixture
def build() -> SimpleNamespace:
    names = (digest, model, evaluation, job, version, route, agent, deployment, observed)
    return SimpleNamespace(**{f.__name__: f for f in names})
