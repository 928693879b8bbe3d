"""The planted data set through real prepare with a real verifier: every plant found under its name, nothing else."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loraform_api.failures import ExitCode
from loraform_verifier.terraform.toolchain import Terraform

from ...cases.dataset import planted as recipe
from ...cases.dataset.planted import Planted, planted
from .conftest import arrow_rows

Stage = Callable[..., int]


@pytest.fixture(scope="module")
def service(terraform: Terraform) -> Iterator[str]:
    """The verifier as it runs beside the stage."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "loraform_verifier", "serve", f"--port={port}"], stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def data() -> Planted:
    return planted()


@pytest.fixture
def run(pod: Any, stage: Stage, data: Planted, service: str) -> Callable[..., int]:
    """Prepare the planted data set, with changes to `spec.dataset`."""

    def prepare(**changes: Any) -> int:
        dataset = pod.config["spec"]["dataset"]
        dataset.pop("checks", None)
        pod.config["spec"]["dataset"] = {**dataset, **changes}
        pod.config["spec"]["training"]["maxSequenceLength"] = 4096
        pod.config["policy"] = recipe.POLICY
        config = pod.paths.base_mount / "tiny" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 8192}))
        pod.write_source(data.lines)
        pod.write_suite(data.suite)
        return stage("prepare", f"--verifier-url={service}", "--sidecar-wait-seconds=60")

    return prepare


def test_every_plant_is_found_under_its_name_and_nothing_else_goes(
    run: Callable[..., int], pod: Any, data: Planted
) -> None:
    assert run() == 0
    prepared = pod.report().prepare
    counts = dict(prepared.rows)
    read, train, validation = (counts.pop(name) for name in ("Read", "Train", "Validation"))
    assert counts == {check: len(rows) for check, rows in data.expected.items()}
    kept = {row["id"] for path in (pod.paths.train_rows, pod.paths.validation_rows) for row in arrow_rows(path)}
    everything = {f"data:{number}" for number in range(1, len(data.lines) + 1)}
    assert everything - kept == set(recipe.ids(data.expected))
    assert train + validation == len(kept)
    assert read == len(data.lines)
    says_why_without_repeating_a_secret(pod, data)


def says_why_without_repeating_a_secret(pod: Any, data: Planted) -> None:
    """What the report of the planted data set must hold."""
    text = (pod.paths.workspace / "reports" / "dataset.json").read_text()
    report = json.loads(text)
    for check, rows in data.expected.items():
        assert report["dropped"][check]["rows"] == len(rows)
        assert {example.partition(": ")[0] for example in report["dropped"][check]["examples"]} <= set(rows)
    assert [e.partition(": ")[0] for e in report["unjudged"]["examples"]] == data.unjudged
    assert [e.partition(": ")[0] for e in report["inDoubt"]["examples"]] == data.in_doubt
    assert "nosuchcloud" in report["unjudged"]["examples"][0]
    assert len(report["nearGroups"]) == 4
    assert report["types"]["aws_sqs_queue"] > 50
    assert [secret for secret in data.secrets if secret in text] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checks": {"secrets": "Fail", "validity": "Off"}}, "spec.dataset.checks.secrets is Fail, and 12 of"),
        ({"checks": {"maxDroppedPercent": 5, "validity": "Off"}}, "more than the 5 % of spec.dataset.checks"),
        ({"deduplicate": {"near": "Fail"}, "checks": {"validity": "Off"}}, "deduplicate.near is Fail, and 4 of"),
    ],
)
def test_a_refused_data_set_names_the_check(run: Callable[..., int], pod: Any, changes: Any, message: str) -> None:
    assert run(**changes) == ExitCode.DATASET_INVALID
    assert message in pod.report().message


def test_a_second_run_takes_the_rows_from_the_cache(run: Callable[..., int], pod: Any) -> None:
    pod.config["spec"]["cache"] = {"claimName": "shared"}
    assert run(repairExamples={"percent": 10}) == 0
    first, rows = pod.report().prepare, pod.paths.train_rows.read_bytes()
    shutil.rmtree(pod.paths.workspace)
    assert run(repairExamples={"percent": 10}) == 0
    second = pod.report().prepare
    assert (first.cached, second.cached) == (False, True)
    assert second.model_copy(update={"cached": False}) == first
    assert pod.paths.train_rows.read_bytes() == rows
    written = [row["id"] for row in arrow_rows(pod.paths.train_rows)]
    repairs = json.loads(pod.paths.dataset_report.read_bytes())["repair"]
    assert len(written) == first.rows["Train"] + repairs
    assert sum("#" in row_id for row_id in written) == repairs > 5
