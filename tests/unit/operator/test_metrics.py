from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from loraform_api.names import Kind
from loraform_api.run import TrainerStatus
from loraform_operator.context import Cache, Key
from loraform_operator.endpoint.progress_store import ProgressReport, ProgressStore
from loraform_operator.metrics import QueueMetrics, RequestMetrics, ResourceCollector, add_build_info, add_leadership

RUN = Key(Kind.FINE_TUNE_JOB, "ns", "job")
CONDITION = {
    "type": "Ready",
    "status": "False",
    "reason": "Training",
    "message": "",
    "lastTransitionTime": "2026-11-24T10:00:00Z",
}
BODY = {"metadata": {"uid": "uid-1"}}
ARM = {
    "name": "Candidate",
    "rows": 200,
    "rates": [{"stage": "All", "raw": "0.9500", "served": "1.0000"}],
    "hallucinationRate": "0.0200",
    "passAtK": [{"k": 5, "rate": "0.9900", "low": "0.9700", "high": "1.0000"}],
}
GAIN = {"gained": 4, "lost": 0, "low": "0.0100", "high": "0.0400"}
STATUS = {
    "conditions": [CONDITION],
    "forgetting": {"meanDifference": "-0.0125", "low": "-0.0200", "high": "-0.0050", "prompts": 60},
    "evaluation": {
        "arms": [ARM],
        "paired": {
            "reference": "Base",
            "bothPassed": 0,
            "candidateOnly": 0,
            "referenceOnly": 0,
            "neitherPassed": 0,
        },
        "parityMaxDifference": "0",
        "reflexion": {
            "rows": 200,
            "rounds": [{"round": 0, "passed": 150}, {"round": 1, "passed": 164, "repaired": 30, "tokens": 9000}],
            "gain": GAIN,
            "bestOfN": {"passed": 160, "answers": 61, "tokens": 9050},
            "overBestOfN": GAIN,
        },
    },
}


def text_of(objects: dict[Key, list[dict[str, Any]]], progress: ProgressStore) -> str:
    registry = CollectorRegistry()
    queue = QueueMetrics(registry)
    queue.added(1)
    queue.started(0, 0.1)
    queue.finished(Kind.FINE_TUNE_JOB, "error", 0.2)
    queue.retried()
    queue.observe_running(lambda: [1.0, 2.0])
    RequestMetrics(registry)("GET", "https://10.0.0.1:443", 200)
    add_build_info(registry)
    add_leadership(registry, "loraform-operator", lambda: 1.5)
    registry.register(ResourceCollector(Cache(objects, {}), progress))
    return generate_latest(registry).decode()


@pytest.fixture
def progress() -> ProgressStore:
    store = ProgressStore()
    status = TrainerStatus(progress_percentage=42, metrics=[{"name": "loss", "value": "0.31"}])
    store.record(("ns", "job"), ProgressReport(status, "pod-1", datetime(2026, 11, 24, tzinfo=UTC)))
    return store


def test_who_holds_the_lease_leads(progress: ProgressStore) -> None:
    assert 'leader_election_master_status{name="loraform-operator"} 1.0' in text_of({}, progress)


def test_metrics_of_a_run(progress: ProgressStore) -> None:
    text = text_of({RUN: [{**BODY, "status": STATUS}]}, progress)
    for line in (
        'loraform_finetunejob_condition{name="job",namespace="ns",status="False",type="Ready"} 1.0',
        'loraform_finetunejob_condition{name="job",namespace="ns",status="True",type="Ready"} 0.0',
        'loraform_finetunejob_progress_ratio{name="job",namespace="ns"} 0.42',
        'loraform_finetunejob_loss{name="job",namespace="ns"} 0.31',
        'loraform_finetunejob_forgetting{name="job",namespace="ns"} -0.0125',
        'loraform_evaluation_rate{arm="Candidate",form="raw",name="job",namespace="ns",stage="All"} 0.95',
        'loraform_evaluation_hallucination_rate{arm="Candidate",name="job",namespace="ns"} 0.02',
        'loraform_evaluation_pass_at_k{arm="Candidate",k="5",name="job",namespace="ns"} 0.99',
        'loraform_evaluation_reflexion_rate{name="job",namespace="ns",round="1"} 0.82',
        'loraform_evaluation_reflexion_best_of_n_rate{name="job",namespace="ns"} 0.8',
        'workqueue_unfinished_work_seconds{name="loraform"} 3.0',
        'rest_client_requests_total{code="200",host="10.0.0.1:443",method="GET"} 1.0',
        'controller_runtime_reconcile_errors_total{controller="finetunejob"} 1.0',
    ):
        assert line in text


def test_metrics_end_with_the_object_and_skip_an_invalid_status(progress: ProgressStore) -> None:
    assert 'name="job"' not in text_of({}, progress)
    assert 'name="job",namespace="ns",status' not in text_of({RUN: [{**BODY, "status": {"conditions": "x"}}]}, progress)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reports_no_problem(progress: ProgressStore) -> None:
    text = text_of({RUN: [{**BODY, "status": STATUS}]}, progress)
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
