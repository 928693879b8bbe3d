"""Several train pods make the adapter that one makes, also when one of them is killed on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from loraform_demo.run_kube import Kube
from loraform_demo.run_store import NAMESPACE, read

from .runs import few_rows, phase_is, small_job, wait

TOLERANCE = 0.002
"""Largest difference of the validation loss: sums of 32-bit numbers come in another order."""


def run_on(kube: Kube, nodes: int, *, kill: bool = False) -> dict[str, Any]:
    """Train with that many pods; return the status at the end."""
    name = f"pods-{nodes}"
    kube.apply(few_rows(name))
    body = small_job(name)
    spec = body["spec"]
    spec["training"]["batchSize"] = 40  # eight packs a step, however many of one, two and four pods share them
    spec["workspace"] = {"size": "2Gi", "accessMode": "ReadWriteMany"}
    spec["placement"] |= {"nodes": nodes, "resources": {"cpu": "100m", "memory": "5Gi"}}
    kube.apply(body)
    if kill:
        wait(
            kube, name, lambda s: s.get("phase") == "Training" and s.get("progress", {}).get("percentage", 0) >= 20, 900
        )
        selector = f"loraform.dev/finetunejob={name},batch.kubernetes.io/job-completion-index=1"
        where = (f"--namespace={NAMESPACE}", "--grace-period=0", "--force")
        kube.run("delete", "pods", f"--selector={selector}", *where, timeout=120)
    return wait(kube, name, phase_is("Succeeded"), 1800)


def losses(kube: Kube, status: dict[str, Any]) -> list[float]:
    """Return the training loss by step, from the published history."""
    folder = status["artifact"]["uri"].removeprefix("pvc://").partition("/")[2]
    lines = read(kube, f"{folder}/reports/training.jsonl").splitlines()
    return [point["loss"] for point in map(json.loads, lines) if "loss" in point]


@pytest.fixture
def room(kube: Kube) -> Iterator[None]:
    """The demo's model without engines for one test: memory for four train pods."""
    scale = ("scale", "iacmodels.loraform.dev/picloud", f"--namespace={NAMESPACE}")
    kube.run(*scale, "--replicas=0")
    yield
    kube.run(*scale, "--replicas=1")


@pytest.mark.slow
def test_two_and_four_pods_make_the_adapter_of_one_and_a_killed_pod_changes_nothing(kube: Kube, room: None) -> None:
    alone = run_on(kube, 1)
    two = run_on(kube, 2, kill=True)
    four = run_on(kube, 4)
    expected = float(alone["training"]["validationLoss"])
    for status in (two, four):
        print(f"\n{status['training']} {status.get('attempts', [])}")
        assert status["training"]["steps"] == alone["training"]["steps"]
        assert float(status["training"]["validationLoss"]) == pytest.approx(expected, abs=TOLERANCE)
        assert losses(kube, status) == pytest.approx(losses(kube, alone), abs=0.02)
    reasons = {a["reason"] for a in two["attempts"]}
    assert reasons
    assert reasons <= {"SavedAndStopped", "PeerLost"}, "both pods ended, and neither end counts as a failure"
    assert four.get("attempts", []) == []
