"""What the operator's integration tests share: the operator as a process, and a run whose pods the tests end by hand.

No node ever fits the pods (an impossible node selector); a test writes the status that a kubelet would have written.
"""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
import yaml
from kubernetes import client

from loraform_api import names
from loraform_api.endpoint import OperatorEndpoint

from ..waiting import free_port, wait_for

GROUP = (names.GROUP, names.VERSION)
JOBS = "finetunejobs"
LEASE_SECONDS = 6
"""After a kill the next process leads so much later; on a busy machine a shorter lease would be lost."""
PREPARED: dict[str, Any] = {
    "stage": "prepare",
    "message": "100 rows",
    "prepare": {
        "datasetDigest": "d" * 64,
        "rows": {"Read": 120, "Duplicate": 20, "Train": 95, "Validation": 5},
        "baseDigest": "b" * 64,
        "templateHash": "c" * 64,
        "suiteRows": 200,
    },
}
TRAINED: dict[str, Any] = {
    "stage": "train",
    "message": "10 steps",
    "train": {
        "steps": 10,
        "resumedFromStep": 5,
        "finalLoss": "0.1",
        "trainedTokens": 1000,
        "adapterDigest": "a" * 64,
    },
}
COUNTS = [190, 195, 200]
EVALUATED: dict[str, Any] = {
    "stage": "evaluate",
    "message": "190 of 200",
    "evaluate": {
        "arms": [{"name": "Candidate", "rows": 200, "counts": {"Policy": COUNTS, "All": COUNTS}}],
        "paired": {
            "reference": "Base",
            "bothPassed": 0,
            "candidateOnly": 190,
            "referenceOnly": 0,
            "neitherPassed": 10,
        },
        "suiteDigest": "5" * 64,
        "parityMaxDifference": "0.001",
        "toolchain": "terraform 1.11.4",
    },
}


class Operator:
    """The operator as a process on this host; it watches some namespaces, and the first is also its own.

    `program` starts Python on it; `extra` are further options by name.
    """

    def __init__(
        self,
        kubeconfig: Path,
        namespaces: list[str],
        address: str,
        folder: Path,
        *,
        program: tuple[str, ...] = ("-m", "loraform_operator"),
        extra: dict[str, object] | None = None,
    ) -> None:
        self.namespace, self._free = namespaces[0], list(namespaces)
        self.endpoint_port, self.metrics_port = free_port(), free_port()
        config = folder / "config.yaml"
        images = {role: f"registry.invalid/{role}:1" for role in ("trainer", "verifier", "gateway")}
        profiles = {"default": {"engineImage": "registry.invalid/engine:1", "engineDtype": "float32"}}
        config.write_text(yaml.safe_dump({"images": images, "profiles": profiles, "resyncSeconds": 30}))
        options = {
            "config": config,
            "kubeconfig": kubeconfig,
            "operator-namespace": self.namespace,
            "advertise-address": address,
            "endpoint-port": self.endpoint_port,
            "metrics-port": self.metrics_port,
            "lease-seconds": LEASE_SECONDS,
            **(extra or {}),
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        flags += [f"--namespace={name}" for name in namespaces]
        self.command = [sys.executable, *program, *flags]
        self.log = folder / "operator.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.spawn()
        wait_for("the operator leads", lambda: self.leads)

    def spawn(self) -> None:
        """Start the process, and do not wait for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log)

    @property
    def leads(self) -> bool:
        """Whether the process says that it leads; a frozen one says nothing."""
        return bool(json.loads(self.fetch("/readyz", 1) or "{}").get("leads"))

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def take_namespace(self) -> str:
        """Return a namespace that no test has had; an operator that a test stopped runs again."""
        if not self.running:
            self.start()
        return self._free.pop(0)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(sign)
        return self.process.wait(30)

    def fetch(self, path: str, seconds: float = 5) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=seconds) as answer:
                return str(answer.read().decode())
        except OSError:
            return None


def post(endpoint: OperatorEndpoint, token: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """Post to the operator as a pod does; return status and answer, status 0 when nothing answers."""
    url, trust = urlsplit(endpoint.url), ssl.create_default_context(cadata=endpoint.ca)
    headers = {"Authorization": f"Bearer {token}"}
    with urllib3.HTTPSConnectionPool(
        url.hostname, url.port, ssl_context=trust, server_hostname=endpoint.server_name, timeout=5, retries=False
    ) as pool:
        try:
            answer = pool.request("POST", url.path, json=body, headers=headers)
        except urllib3.exceptions.HTTPError:
            return 0, b""
    return answer.status, answer.data


class Run:
    """One FineTuneJob and what a kubelet would do to its pods."""

    def __init__(self, api: client.ApiClient, namespace: str, name: str = "style") -> None:
        self.core, self.batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self.custom = client.CustomObjectsApi(api)
        self.namespace, self.name = namespace, name

    def create(self, **spec: Any) -> None:
        text = "# This resource is generated using PiCloud tool"
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "FineTuneJob",
            "metadata": {"name": self.name},
            "spec": {
                "baseModel": {"storageUri": "pvc://models/tiny"},
                "dataset": {"sources": [{"name": "pairs", "configMap": {"name": "pairs", "key": "rows.jsonl"}}]},
                "policy": {"comment": text},
                "evaluation": {"suites": [{"name": "held", "configMap": {"name": "held", "key": "s.jsonl"}}]},
                "output": {"storageUri": "pvc://models/adapters"},
                "placement": {"nodeSelector": {"loraform.dev/test": "no-such-node"}},
                **spec,
            },
        }
        self.custom.create_namespaced_custom_object(*GROUP, self.namespace, JOBS, body)

    def create_claim(self, name: str = "models") -> None:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        body = {"metadata": {"name": name}, "spec": spec}
        self.core.create_namespaced_persistent_volume_claim(self.namespace, body)

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.custom.get_namespaced_custom_object(*GROUP, self.namespace, JOBS, self.name)
        return found

    @property
    def status(self) -> dict[str, Any]:
        return self.get().get("status") or {}

    def condition(self, type_: str) -> dict[str, Any]:
        return next((c for c in self.status.get("conditions", []) if c["type"] == type_), {})

    def await_condition(self, type_: str, status: str, reason: str, seconds: float = 60) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.condition(type_)
            return found if (found.get("status"), found.get("reason")) == (status, reason) else None

        return wait_for(f"condition {type_}={status} {reason}", look, seconds)

    def pod(self, stage: str) -> Any:
        """Return the stage's newest pod that has not ended yet."""
        selector = f"{names.LABEL_JOB}={self.name},{names.LABEL_STAGE}={stage}"

        def look() -> Any:
            pods = self.core.list_namespaced_pod(self.namespace, label_selector=selector).items
            return next((p for p in pods if p.status.phase in ("Pending", "Running")), None)

        return wait_for(f"a pod of stage {stage}", look)

    def end(self, stage: str, report: dict[str, Any], code: int = 0) -> str:
        """Let the stage's newest pod end with this report; returns its name."""
        name = str(self.pod(stage).metadata.name)
        self.end_pod(name, stage, report, code)
        return name

    def end_pod(self, name: str, stage: str, report: dict[str, Any], code: int = 0) -> None:
        """Let one pod end with this report."""
        ended = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "message": json.dumps(report),
        }
        container = {
            "name": stage,
            "image": "x",
            "imageID": "x",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": ended},
        }
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container]}
        self.core.patch_namespaced_pod_status(name, self.namespace, {"status": status})

    def jobs(self) -> dict[str, str]:
        """Return uid by name of the run's Jobs."""
        jobs = self.batch.list_namespaced_job(self.namespace, label_selector=f"{names.LABEL_JOB}={self.name}").items
        return {j.metadata.name: j.metadata.uid for j in jobs}
