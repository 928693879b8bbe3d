"""An IaCModel on the real API server with the real operator process, Deployment controller and admission.

No node ever fits the pods (an impossible node selector): the test writes the readiness that a kubelet would have
written, and speaks for the agent in an engine pod, with a real token of that pod.
"""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from loraform_api import names
from loraform_api.endpoint import OperatorEndpoint
from loraform_api.heartbeat import Route

from ..waiting import wait_for
from .operator_runs import Operator, post

GROUP = (names.GROUP, names.VERSION)
MODELS, JOBS = "iacmodels", "finetunejobs"
POLICY = {"comment": "# house", "tags": {"created_by": "PiCloud"}}
ENDED = "2026-01-01T00:{:02d}:00Z"


def digest(number: int) -> str:
    return f"{number:x}" * 64


class Model:
    """One IaCModel, its candidates, and what kubelets and agents would do."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.core, self.apps, self.custom = client.CoreV1Api(api), client.AppsV1Api(api), client.CustomObjectsApi(api)
        self.namespace = namespace

    def create(self, **spec: Any) -> None:
        selector = {"placement": {"nodeSelector": {"loraform.dev/test": "no-such-node"}}}
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "IaCModel",
            "metadata": {"name": "house"},
            "spec": {"policy": POLICY, "serving": selector, **spec},
        }
        self.custom.create_namespaced_custom_object(*GROUP, self.namespace, MODELS, body)

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.custom.get_namespaced_custom_object(*GROUP, self.namespace, MODELS, "house")
        return found

    @property
    def status(self) -> dict[str, Any]:
        return self.get().get("status") or {}

    def await_condition(self, type_: str, status: str, reason: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = next((c for c in self.status.get("conditions", []) if c["type"] == type_), {})
            return found if (found.get("status"), found.get("reason")) == (status, reason) else None

        found: dict[str, Any] = wait_for(f"condition {type_}={status} {reason}", look)
        return found

    def succeed(self, number: int, *, gained: int, lost: int, both: int, live: int | None = None) -> None:
        """Let a job for this model end as if it had run: 400 rows, adapter `digest(number)`."""
        source = {"name": "rows", "configMap": {"name": "rows", "key": "rows.jsonl"}}
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "FineTuneJob",
            "metadata": {"name": f"job-{number}"},
            "spec": {
                "modelRef": {"name": "house"},
                "baseModel": {"storageUri": "pvc://models/tiny"},
                "dataset": {"sources": [source]},
                "evaluation": {"suites": [source]},
                "output": {"storageUri": "pvc://models/adapters"},
            },
        }
        self.custom.create_namespaced_custom_object(*GROUP, self.namespace, JOBS, body)
        ended = ENDED.format(number)
        passed = f"{(both + gained) / 400:.4f}"
        rates = [{"stage": s, "raw": passed, "served": "1.0000"} for s in ("Parse", "Validate", "Policy", "All")]
        status = {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "lastTransitionTime": ended}],
            "stages": [{"name": "publish", "startTime": ended, "completionTime": ended}],
            "evaluation": {
                "arms": [{"name": "Candidate", "rows": 400, "rates": rates}],
                "paired": {
                    "reference": "Live" if live else "Base",
                    "bothPassed": both,
                    "candidateOnly": gained,
                    "referenceOnly": lost,
                    "neitherPassed": 400 - both - gained - lost,
                },
                **({"liveDigest": digest(live)} if live else {}),
                "parityMaxDifference": "0.001",
            },
            "artifact": {"uri": f"pvc://models/adapters/job-{number}", "digest": digest(number), "sizeBytes": 1},
            "provenance": {
                "runConfig": "r",
                "engineDtype": "float32",
                "baseDigest": digest(14),
                "templateHash": digest(15),
            },
        }
        self.custom.patch_namespaced_custom_object_status(
            *GROUP, self.namespace, JOBS, f"job-{number}", {"status": status}
        )

    def pod(self, part: str) -> Any:
        labels = f"{names.LABEL_MODEL}=house,{names.LABEL_COMPONENT}={part}"
        found = self.core.list_namespaced_pod(self.namespace, label_selector=labels).items
        return next((p for p in found if p.metadata.deletion_timestamp is None), None)

    def make_ready(self, part: str) -> None:
        """Write what the kubelet of a ready pod writes."""
        pod = wait_for(f"a pod of the {part}", lambda: self.pod(part))
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": ENDED.format(0)}
        status = {"phase": "Running", "conditions": [ready]}
        self.core.patch_namespaced_pod_status(pod.metadata.name, self.namespace, {"status": status})

    def deployment(self, part: str) -> Any:
        return self.apps.read_namespaced_deployment(f"house-{part}", self.namespace)

    def revisions(self) -> dict[int, str]:
        """Return the decision by version."""
        found = self.apps.list_namespaced_controller_revision(self.namespace).items
        return {r.revision: r.data["decision"] for r in found}


class Agent:
    """Speaks for the agent in the engine pod."""

    def __init__(self, model: Model, operator: Operator, api: client.ApiClient) -> None:
        self.model, self.core = model, client.CoreV1Api(api)
        pod = wait_for("an engine pod", lambda: model.pod("engine"))
        self.endpoint = OperatorEndpoint.model_validate_json(read(model))
        service = self.core.read_namespaced_service(names.SERVICE_OPERATOR, operator.namespace)
        assert service.spec.cluster_ip in self.endpoint.url
        assert service.spec.cluster_ip not in str(pod.spec), "a new address must not change the template"
        reference = {"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.metadata.uid}
        (token,) = (v.projected for v in pod.spec.volumes if v.name == "token")
        wanted = {"audiences": [token.sources[0].service_account_token.audience], "boundObjectRef": reference}
        account = pod.spec.service_account_name
        made = self.core.create_namespaced_service_account_token(account, model.namespace, {"spec": wanted})
        self.token, self.pod = made.status.token, pod.metadata.name

    def beat(self, **states: str) -> Route:
        """Report adapters, `v2="Ready"`, and return the route that comes back."""
        told = [{"digest": digest(int(k[1:])), "state": v, "message": f"it is {v}"} for k, v in states.items()]
        body = {"role": "agent", "pod": self.pod, "adapters": told}

        def answer() -> bytes | None:
            status, text = post(self.endpoint, self.token, body)
            return text if status == 200 else None

        return Route.model_validate_json(wait_for("an answer to the heartbeat", answer))


@pytest.fixture
def model(api: client.ApiClient, operator: Operator) -> Model:
    return Model(api, operator.take_namespace())


def live(route: Route) -> int | None:
    return next((a.version for a in route.adapters if a.digest == route.live), None)


def test_versions_go_live_when_the_engines_prove_them(operator: Operator, model: Model, api: client.ApiClient) -> None:
    model.create()
    model.await_condition("CandidateAccepted", "Unknown", "NoCandidate")
    model.await_condition("Ready", "False", "NoVersion")
    assert model.apps.list_namespaced_deployment(model.namespace).items == []

    model.succeed(1, gained=390, lost=0, both=0)
    found = model.await_condition("CandidateAccepted", "True", "Accepted")
    assert "candidate 0.9750, base 0.0000, n=400, difference +97.5 points" in found["message"]
    agent = Agent(model, operator, api)
    assert live(agent.beat(v1="Loading")) is None
    model.make_ready("engine")
    agent.beat(v1="Ready")
    wait_for("version 1 to be live", lambda: model.status.get("liveVersion") == 1)
    wait_for("the agent to hear of it", lambda: live(agent.beat(v1="Ready")) == 1)
    model.make_ready("gateway")
    model.await_condition("Serving", "True", "VersionLive")
    model.await_condition("Ready", "True", "VersionLive")
    before = model.deployment("engine").metadata.generation

    model.succeed(2, gained=5, lost=4, both=380, live=1)
    found = model.await_condition("CandidateAccepted", "False", "NotBetterThanLive")
    assert "difference +0.2 points" in found["message"]
    model.succeed(3, gained=9, lost=0, both=390)
    model.await_condition("CandidateAccepted", "False", "LiveChanged")

    model.succeed(4, gained=9, lost=0, both=390, live=1)
    model.await_condition("CandidateAccepted", "True", "Accepted")
    route = wait_for("version 4 on the route", lambda: (r := agent.beat(v1="Ready")) and len(r.adapters) == 2 and r)
    assert live(route) == 1
    agent.beat(v1="Ready", v4="NotServable")
    found = model.await_condition("Serving", "True", "AdapterNotServable")
    refusal = "version 4 (job job-4) was accepted, but the engine cannot serve it: it is NotServable; version 1"
    assert refusal in found["message"]
    assert model.status["liveVersion"] == 1

    operator.stop()
    operator.start()
    wait_for("the route after a restart", lambda: live(agent.beat(v1="Ready", v4="Ready")) == 4)
    wait_for("version 4 in status", lambda: model.status.get("liveVersion") == 4)
    model.await_condition("Ready", "True", "VersionLive")
    assert model.deployment("engine").metadata.generation == before, "adapters come and go; the pods stay"
    assert model.revisions() == {1: "Accepted", 2: "NotBetterThanLive", 3: "LiveChanged", 4: "Accepted"}
    assert [v["version"] for v in model.status["versions"]] == [4, 3, 2, 1]
    reasons = {e.reason for e in model.core.list_namespaced_event(model.namespace).items}
    assert {"CandidateAccepted", "CandidateNotBetterThanLive", "AdapterNotServable", "VersionLive"} <= reasons
    live_version = f'loraform_iacmodel_live_version{{name="house",namespace="{model.namespace}"}} 4.0'
    assert live_version in (operator.fetch("/metrics") or "")


def test_a_pass_that_finds_everything_in_place_writes_nothing(quiet_operator: Operator, api: client.ApiClient) -> None:
    operator = quiet_operator
    model = Model(api, operator.take_namespace())
    model.create()
    model.succeed(1, gained=390, lost=0, both=0)
    agent = Agent(model, operator, api)
    model.make_ready("engine")
    agent.beat(v1="Ready")
    model.make_ready("gateway")
    model.await_condition("Ready", "True", "VersionLive")
    model.core.patch_namespaced_config_map(
        "house-endpoint", model.namespace, {"data": {names.ENDPOINT_FILE: "someone's"}}
    )
    wait_for("the address to be put back", lambda: "BEGIN" in read(model))

    wait_for("a first pass that tells nothing", lambda: agent.beat(v1="Ready", v9="Loading") and counts(operator)[0])
    passes, reads, writes = counts(operator)
    for state in ("NotServable", "Loading", "Ready"):  # of an adapter that nobody asked for
        agent.beat(v1="Ready", v9=state)
    wait_for("three more passes", lambda: counts(operator)[0] >= passes + 3)
    more_passes, more_reads, same_writes = counts(operator)
    assert same_writes == writes
    assert more_reads - reads <= more_passes - passes + 1, "one read a pass, and that of one which has not ended yet"


def counts(operator: Operator) -> tuple[float, float, float]:
    """Return passes over models, reads and writes so far."""
    lines = (operator.fetch("/metrics") or "").splitlines()

    def total(metric: str, having: str = "") -> float:
        return sum(float(line.split()[-1]) for line in lines if line.startswith(metric) and having in line)

    requests, reads = total("rest_client_requests_total{"), total("rest_client_requests_total{", 'method="GET"')
    return total('controller_runtime_reconcile_total{controller="iacmodel"'), reads, requests - reads


def read(model: Model) -> str:
    return str(model.core.read_namespaced_config_map("house-endpoint", model.namespace).data[names.ENDPOINT_FILE])


def test_the_number_of_engines_is_the_autoscalers_until_the_spec_says_one(operator: Operator, model: Model) -> None:
    model.create()
    model.succeed(1, gained=390, lost=0, both=0)
    wait_for("the engine", lambda: model.deployment("engine").spec.replicas == 1)
    scale = {"spec": {"replicas": 3}}
    model.apps.patch_namespaced_deployment_scale("house-engine", model.namespace, scale)
    wait_for("three pods in status", lambda: model.status.get("replicas") == 3)
    assert model.deployment("engine").spec.replicas == 3
    model.custom.patch_namespaced_custom_object_scale(
        *GROUP, model.namespace, MODELS, "house", {"spec": {"replicas": 0}}
    )
    wait_for("no engine", lambda: model.deployment("engine").spec.replicas == 0)
    model.await_condition("Serving", "False", "ScaledToZero")
    assert model.status["liveVersion"] == 1
    selector = model.status["selector"]
    assert f"{names.LABEL_COMPONENT}=engine" in selector


def test_a_name_that_is_taken_is_left_alone(operator: Operator, model: Model) -> None:
    port = {"ports": [{"port": 80}], "selector": {"app": "theirs"}}
    model.core.create_namespaced_service(model.namespace, {"metadata": {"name": "house"}, "spec": port})
    model.create(serving={"replicas": 0})
    model.succeed(1, gained=390, lost=0, both=0)
    found = model.await_condition("Stalled", "True", "Refused")
    assert "Service" in found["message"] and "has another owner" in found["message"]
    assert model.core.read_namespaced_service("house", model.namespace).spec.selector == {"app": "theirs"}
