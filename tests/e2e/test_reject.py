"""`make demo-reject`: the same job on responses permuted among prompts does not get past the gate."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from loraform_demo.run_cluster import BUILD, ROOT
from loraform_demo.run_kube import Kube
from loraform_demo.run_store import NAMESPACE


@pytest.mark.slow
def test_an_adapter_of_shuffled_answers_is_refused_and_the_live_one_stays(demo: dict[str, Any], kube: Kube) -> None:
    done = subprocess.run([sys.executable, "-m", "loraform_demo.run", "reject"], cwd=ROOT, check=False)
    assert done.returncode == 0
    figures = json.loads((BUILD / "demo-reject.json").read_text())
    assert figures["decision"] == "MinimumsNotMet"
    assert "Intent" in figures["message"], "the message has the numbers"
    assert figures["liveVersion"] == demo["version"]
    model = kube.get("iacmodels.loraform.dev", NAMESPACE, "picloud") or {}
    accepted = next(c for c in model["status"]["conditions"] if c["type"] == "CandidateAccepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "MinimumsNotMet")
