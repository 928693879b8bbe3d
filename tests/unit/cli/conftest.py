"""Objects as the API server returns them, in the states that a user sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import IaCModel

TIME = "2026-11-24T00:00:00Z"
DIGEST = "a" * 64


def condition(type_: str, status: str, reason: str = "Because", message: str = "so it is") -> dict[str, Any]:
    """Return one condition."""
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": TIME}


def metadata(name: str, generation: int = 1) -> dict[str, Any]:
    """Return metadata."""
    return {
        "name": name,
        "namespace": "demo",
        "uid": "u-1",
        "generation": generation,
        "creationTimestamp": TIME,
    }


@pytest.fixture
def make_job() -> Callable[..., FineTuneJob]:
    """Return a factory of FineTuneJobs with a given status."""
    source = {"persistentVolumeClaim": {"claimName": "store", "path": "data/rows.jsonl"}}
    spec = {
        "baseModel": {"storageUri": "pvc://store/base"},
        "dataset": {"sources": [{"name": "rows", **source}]},
        "evaluation": {"suites": [{"name": "suite", **source}]},
        "output": {"storageUri": "pvc://store/adapters"},
    }

    def make(generation: int = 1, observed: int = 1, **status: Any) -> FineTuneJob:
        body = {"metadata": metadata("lora", generation), "spec": spec}
        return FineTuneJob.model_validate({**body, "status": {"observedGeneration": observed, **status}})

    return make


@pytest.fixture
def make_model() -> Callable[..., IaCModel]:
    """Return a factory of IaCModels with a given status."""

    def make(**status: Any) -> IaCModel:
        body = {"metadata": metadata("picloud"), "spec": {}}
        return IaCModel.model_validate({**body, "status": {"observedGeneration": 1, **status}})

    return make


@pytest.fixture
def evaluation() -> dict[str, Any]:
    """An evaluation in which training taught the policy."""

    stages = ("Parse", "Validate", "Policy", "Intent", "All")

    def arm(name: str, raw: str) -> dict[str, Any]:
        rates = [{"stage": stage, "raw": raw, "served": "1"} for stage in stages]
        return {"name": name, "rows": 200, "rates": rates}

    return {
        "arms": [arm("Base", "0.02"), arm("Candidate", "0.985")],
        "paired": {"reference": "Base", "bothPassed": 4, "candidateOnly": 193, "referenceOnly": 0, "neitherPassed": 3},
        "parityMaxDifference": "0.0001",
    }
