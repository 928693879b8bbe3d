"""Small runs on the demo's base and cluster, for the tests that disturb them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from loraform_demo.run_cluster import BUILD, ROOT
from loraform_demo.run_kube import Kube
from loraform_demo.run_store import DATA, NAMESPACE

QUICKSTART = ROOT / "examples" / "quickstart"
JOBS = "finetunejobs.loraform.dev"
SUITE_ROWS = 16
PAUSE_SECONDS = 1.0
"""Between two looks: each starts a kubectl, which would take a core from what is tested."""


def demo_kube() -> Kube:
    """The demo's cluster, with the pinned tools."""
    words = [sys.executable, "-m", "loraform_devcluster", "tools", "kubectl", "helm"]
    kubectl, helm = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return Kube(kubectl, helm, kubeconfig=str(BUILD / "kubeconfig"))


def small_job(name: str) -> dict[str, Any]:
    """The quickstart's job without a model, on one epoch and a few suite rows of a ConfigMap."""
    body: dict[str, Any] = yaml.safe_load((QUICKSTART / "finetunejob.yaml").read_text())
    model = yaml.safe_load((QUICKSTART / "iacmodel.yaml").read_text())
    body = copy.deepcopy(body)
    body["metadata"]["name"] = name
    spec = body["spec"]
    del spec["modelRef"]
    spec["policy"] = model["spec"]["policy"]
    spec["training"]["epochs"] = 1
    spec["checkpoint"] = {"everySteps": 4}
    spec["evaluation"]["suites"] = [{"name": "few", "configMap": {"name": f"{name}-suite", "key": "suite.jsonl"}}]
    return body


def few_rows(name: str) -> dict[str, Any]:
    lines = (DATA / "suite.jsonl").read_text().splitlines()[:SUITE_ROWS]
    metadata = {"name": f"{name}-suite", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"suite.jsonl": "\n".join(lines)}}


@contextmanager
def created(kube: Kube, body: dict[str, Any]) -> Iterator[str]:
    """Create a small job with its suite's rows and yield its name; nothing of it stays, but what it published."""
    name: str = body["metadata"]["name"]
    kube.apply(few_rows(name), body)
    yield name
    kube.run("delete", f"{JOBS}/{name}", f"configmap/{name}-suite", f"--namespace={NAMESPACE}", "--wait=false")


def wait(kube: Kube, name: str, done: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
    """Wait until the job's status satisfies `done`; a Stalled job ends the wait with its message."""
    deadline = time.monotonic() + seconds
    while True:
        job = kube.get(JOBS, NAMESPACE, name) or {}
        status: dict[str, Any] = job.get("status", {})
        if done(status):
            return status
        stalled = [c for c in status.get("conditions", []) if c["type"] == "Stalled"]
        assert not stalled, stalled
        assert time.monotonic() < deadline, json.dumps(status, indent=1)
        time.sleep(PAUSE_SECONDS)


def phase_is(phase: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status.get("phase") == phase
