"""What `make demo` promises, read from its figures and from the cluster that it left running."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from typing import Any

import pytest

from loraform_cli.__main__ import main
from loraform_demo import run_ask
from loraform_demo.run_cluster import BUILD, OPERATOR_NAMESPACE, ROOT
from loraform_demo.run_kube import Kube
from loraform_demo.run_store import DATA, NAMESPACE

JOB, MODEL = "picloud-lora", "picloud"


def test_the_tuned_model_proves_better_on_held_out_rows(demo: dict[str, Any]) -> None:
    base, tuned = demo["arms"]["Base"], demo["arms"]["Candidate"]
    assert tuned["rows"] >= 200
    assert base["raw"]["Policy"] <= 0.05
    assert tuned["raw"]["Policy"] >= 0.95
    assert tuned["raw"]["Validate"] >= 0.90
    assert tuned["raw"]["Intent"] >= 0.90
    assert tuned["served"]["Policy"] >= tuned["raw"]["Policy"]
    assert demo["distinctAnswers"] >= 0.9 * demo["distinctPrompts"]


def test_the_suite_shares_no_name_or_value_with_the_training_rows(demo: dict[str, Any]) -> None:
    training = (DATA / "dataset.jsonl").read_text()
    rows = [json.loads(line) for line in (DATA / "suite.jsonl").read_text().splitlines()]
    shared = [
        word for row in rows for word in row["asked"]["names"] + row["asked"]["values"] if f'\\"{word}\\"' in training
    ]
    assert not shared
    assert sum(row["unseenPhrasing"] for row in rows) >= len(rows) / 5


def test_samples_can_be_judged_again_by_anyone(demo: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    samples = [json.loads(line) for line in (BUILD / "demo-samples.jsonl").read_text().splitlines()]
    assert len(samples) == demo["arms"]["Candidate"]["rows"]
    assert {"Base", "Candidate"} <= set(samples[0]["raw"])
    assert all(sample["adapterDigest"] == demo["adapter"]["digest"] for sample in samples)
    suite = ["--suite", str(BUILD / "demo-samples.jsonl"), "--field", "raw.Candidate"]
    main(["verify", *suite, "--policy", str(ROOT / "examples/quickstart/iacmodel.yaml"), "-o", "json"])
    verdicts = [json.loads(line)["passed"] for line in capsys.readouterr().out.splitlines()]
    assert sum(verdicts) / len(verdicts) == demo["arms"]["Candidate"]["raw"]["All"]


def test_kubectl_waits_lists_and_explains(kube: Kube) -> None:
    where = f"--namespace={NAMESPACE}"
    kube.run("wait", "--for=condition=Succeeded", f"finetunejob/{JOB}", where, "--timeout=10s")
    listed = kube.run("get", "finetunejobs,iacmodels", where)
    assert "Succeeded" in listed
    assert f"http://{MODEL}.{NAMESPACE}.svc" in listed
    assert "Rank of the adapter" in kube.run("explain", "finetunejob.spec.lora")


def test_a_finished_run_leaves_no_running_pod(kube: Kube) -> None:
    assert kube.items("pods", NAMESPACE, f"--selector=loraform.dev/finetunejob={JOB}") == []


def test_every_pod_was_admitted_under_the_restricted_standard(kube: Kube) -> None:
    namespace = kube.get("namespace", "", NAMESPACE)
    assert namespace is not None
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    refused = [e["message"] for e in kube.items("events", NAMESPACE) if "violates PodSecurity" in e.get("message", "")]
    assert refused == []


def test_metrics_are_clean_and_show_the_run(kube: Kube) -> None:
    page = run_ask.metrics(kube)
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool comes with Debian's prometheus, which devcluster installs"
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert f'loraform_iacmodel_live_version{{name="{MODEL}",namespace="{NAMESPACE}"}}' in page


def post(url: str, body: dict[str, Any]) -> bytes:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        content: bytes = answer.read()
        return content


def test_a_streamed_answer_ends_verified(kube: Kube) -> None:
    prompt = run_ask.held_out_prompts(1)[0]
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": True}
    with kube.forwarded(MODEL, NAMESPACE, 80) as url:
        lines = post(f"{url}/v1/chat/completions", body).decode().splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    chunks = [json.loads(item) for item in data[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert "# This resource is generated using PiCloud tool" in text
    assert chunks[-1]["loraform"]["verified"] is True


def test_a_prompt_out_of_this_world_is_answered_with_its_verdict(kube: Kube) -> None:
    with kube.forwarded(MODEL, NAMESPACE, 80) as url:
        answer = json.loads(post(f"{url}/v1/completions", {"model": MODEL, "prompt": "zzz qqq", "max_tokens": 40}))
    told = answer["loraform"]
    assert told["verified"] is (told["verdict"] == "Passed")
    assert told["stages"] or told["verdict"] == "Truncated"


def test_the_operator_runs_without_restarts(kube: Kube) -> None:
    pods = kube.items("pods", OPERATOR_NAMESPACE)
    assert [c["restartCount"] for p in pods for c in p["status"]["containerStatuses"]] == [0, 0]
