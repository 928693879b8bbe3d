"""The demo, once, on a real node; every other e2e test uses the cluster, the chart and the data that it left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loraform_demo.run_cluster import BUILD
from loraform_demo.run_kube import Kube
from loraform_demo.run_store import NAMESPACE

from .runs import demo_kube

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def demo() -> dict[str, Any]:
    """Run `make demo`'s command to its end and return its figures (build/demo.json)."""
    done = subprocess.run([sys.executable, "-m", "loraform_demo.run", "up"], cwd=ROOT, check=False)
    assert done.returncode == 0, "the demo failed; its own lines above say where"
    figures: dict[str, Any] = json.loads((BUILD / "demo.json").read_text())
    return figures


@pytest.fixture(scope="session")
def kube(demo: dict[str, Any]) -> Kube:
    """The demo's cluster."""
    return demo_kube()


@pytest.fixture
def job_of(kube: Kube) -> Any:
    """A function that reads a FineTuneJob of the demo's namespace."""
    return lambda name: kube.get("finetunejobs.loraform.dev", NAMESPACE, name)
