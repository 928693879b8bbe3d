"""The engine of a run and of its model are one, and its probes let it start slowly and stop a hung one."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api.finetunejob import FineTuneJob
from loraform_api.heartbeat import Route
from loraform_api.iacmodel import Decision, IaCModel, VersionRecord
from loraform_api.names import RunStage
from loraform_api.training import Method
from loraform_operator.finetunejob import observe as run_observe
from loraform_operator.finetunejob.plan import render
from loraform_operator.finetunejob.stage_jobs import stage_job
from loraform_operator.iacmodel.observe import Observed
from loraform_operator.iacmodel.plan import engine_deployment, gateway_deployment
from loraform_operator.pods.engine import BATCH_ADAPTERS, KEPT_ADAPTERS, decide_engine, engine_container
from loraform_operator.pods.probes import loopback_probes
from loraform_operator.settings import Profile, load_settings

CASES = Path(__file__).parents[3] / "cases" / "finetunejob"
SETTINGS = load_settings(CASES / "settings.yaml")
DIGEST = "a" * 64
PLACES = {"volumeMounts", "resources", "restartPolicy", "lifecycle", "command"}
"""What may differ; of `command` only the folder of the base model. The sidecar of a run has no agent to wait for."""


def serving(profile: str, max_rank: int) -> IaCModel:
    meta = {"name": "terraform", "namespace": "team-a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"serving": {"placement": {"profile": profile}, "lora": {"maxRank": max_rank}}}
    return IaCModel.model_validate({"metadata": meta, "spec": spec})


def run_pod(model: IaCModel, method: str) -> dict[str, Any]:
    """Return the pod of stage `evaluate` of a run for the model."""
    body = yaml.safe_load((CASES / "01-first-visit" / "input.yaml").read_text())
    profile = model.spec.serving.placement.profile
    body["spec"] |= {"modelRef": {"name": "terraform"}, "method": method, "lora": {"rank": 8}}
    body["spec"]["placement"] = {"profile": profile}
    job = FineTuneJob.model_validate(body)
    target = run_observe.TargetModel(name="terraform", policy=None, serving=model.spec.serving, live=None)
    run = render(run_observe.Observed(job, model=target), SETTINGS)
    pod: dict[str, Any] = stage_job(job, RunStage.EVALUATE, 0, run)["spec"]["template"]["spec"]
    return pod


def serving_pods(model: IaCModel, method: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pods of engine and gateway that serve a version of the model."""
    version = VersionRecord(
        version=1, job="j", job_uid="u", completion_time="2026-01-01T00:00:00Z", base_model_uri="pvc://models/tiny",
        base_digest=DIGEST, template_hash=DIGEST, artifact_uri="pvc://store/j", artifact_digest=DIGEST, rank=8,
        method=Method(method), engine_dtype="float32", max_new_tokens=64, decision=Decision.ACCEPTED, message="",
    )  # fmt: skip
    adapter = {"version": 1, "digest": DIGEST, "path": "/p", "templateHash": DIGEST, "maxNewTokens": 64, "created": 0}
    route = Route.model_validate(
        {"revision": "r", "model": "terraform", "basePath": "/mnt/base/tiny", "adapters": [adapter]}
    )
    observed = Observed(
        model, SETTINGS.profiles[model.spec.serving.placement.profile], route=route, versions=(version,)
    )
    builders = (engine_deployment, gateway_deployment)
    engine, gateway = (b(observed, route, SETTINGS)["spec"]["template"]["spec"] for b in builders)
    return engine, gateway


@pytest.mark.parametrize(
    ("profile", "max_rank", "method"), [("default", 16, "LoRA"), ("l4", 512, "LoRA"), ("l4", 32, "QLoRA")]
)
def test_a_run_and_its_model_have_one_engine(profile: str, max_rank: int, method: str) -> None:
    model = serving(profile, max_rank)
    (measured,) = (c for c in run_pod(model, method)["initContainers"] if c["name"] == "engine")
    served = serving_pods(model, method)[0]["containers"][0]
    assert {k: v for k, v in measured.items() if k not in PLACES} == {
        k: v for k, v in served.items() if k not in PLACES
    }
    assert measured["command"][3:] == served["command"][3:]
    assert (measured["command"][2], served["command"][2]) == ("/workspace/base", "/mnt/base/tiny")
    rank = served["command"][served["command"].index("--max-lora-rank") + 1]
    assert int(rank) == min(max_rank, 64), "64 is the profiles' limit"
    assert ("--quantization" in served["command"]) is (method == "QLoRA")


def test_a_merged_model_is_served_without_adapters_and_unquantised() -> None:
    engine = decide_engine(SETTINGS.profiles["l4"], Method.QLORA, None, merged=True)
    assert (engine.max_rank, engine.args) == (None, [])


def test_an_engine_has_room_to_load_an_adapter_before_another_leaves() -> None:
    command = serving_pods(serving("default", 16), "LoRA")[0]["containers"][0]["command"]
    on_route, in_run = 2, 3 + 1
    assert int(command[command.index("--max-loras") + 1]) == BATCH_ADAPTERS >= on_route + 1
    assert int(command[command.index("--max-cpu-loras") + 1]) == KEPT_ADAPTERS >= in_run + 1


def containers() -> dict[str, dict[str, Any]]:
    """Return every container that serves, by where it stands."""
    model = serving("default", 16)
    pods = {"run": run_pod(model, "LoRA"), **dict(zip(("engine", "gateway"), serving_pods(model, "LoRA"), strict=True))}
    found = {
        f"{p}/{c['name']}": c for p, pod in pods.items() for c in pod.get("initContainers", []) + pod["containers"]
    }
    return {place: c for place, c in found.items() if place != "run/evaluate"}


@pytest.mark.parametrize("place", sorted(containers()))
def test_each_container_may_start_slowly_and_is_restarted_when_it_hangs(place: str) -> None:
    container = containers()[place]
    start, ready, live = (container[f"{name}Probe"] for name in ("startup", "readiness", "liveness"))
    seconds = start["periodSeconds"] * start["failureThreshold"]
    assert seconds >= (1800 if container["name"] == "engine" else 120), "31 s were needed, and half an hour for models"
    assert live["periodSeconds"] * live["failureThreshold"] > 30, "a pause of 30 s is no hang"
    assert live["periodSeconds"] * live["failureThreshold"] <= 180
    assert ready["failureThreshold"] > 1, "one missed look takes no pod away"


@pytest.mark.parametrize("place", sorted(containers()))
def test_the_checks_of_a_started_container_are_few(place: str) -> None:
    """Each starts Python in a container that listens on loopback: 30 ms of CPU, and the kubelet's own work."""
    container = containers()[place]
    periods = [
        container[f"{name}Probe"]["periodSeconds"]
        for name in ("readiness", "liveness")
        if "exec" in container[f"{name}Probe"]
    ]
    assert sum(60 / seconds for seconds in periods) <= 8


def test_the_places_are_all_there() -> None:
    places = ["engine/agent", "engine/engine", "gateway/gateway", "gateway/verifier", "run/engine", "run/verifier"]
    assert sorted(containers()) == places


@pytest.fixture
def health() -> Iterator[tuple[int, dict[str, int]]]:
    """Serve `/health` on loopback with a status that the test sets; yields the port and that setting."""
    setting = {"status": 200}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(setting["status"] if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, setting
    server.shutdown()
    server.server_close()


def test_the_check_on_loopback_follows_the_answer(health: tuple[int, dict[str, int]]) -> None:
    port, setting = health
    command = loopback_probes(port, "/health", start_seconds=60)["livenessProbe"]["exec"]["command"]
    assert subprocess.run(command, check=False).returncode == 0
    setting["status"] = 503
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (refused.returncode, refused.stderr) == (1, f"port {port} answered 503 Service Unavailable\n")


def test_the_check_on_loopback_fails_where_nobody_listens() -> None:
    command = loopback_probes(1, "/health", start_seconds=60)["livenessProbe"]["exec"]["command"]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.startswith("no answer from port 1: ")


def test_the_engine_is_checked_at_vllms_own_path() -> None:
    profile = Profile(engine_image="e")
    container = engine_container(
        decide_engine(profile, Method.LORA, None), serving("default", 8).spec.serving.placement.resources,
        model_path="/m", mounts=[],
    )  # fmt: skip
    assert container["livenessProbe"]["exec"]["command"][-3:-1] == ["8100", "/health"]
