"""One merged run that loses its operator in each stage, gets a new one while it trains, and then loses its train pod.

It ends as a run does that nobody disturbs: one Job a stage, and base and DoRA adapter measured and published whole.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from loraform_demo.run_cluster import BUILD, CHART, OPERATOR_NAMESPACE, RELEASE, ROOT, split_reference
from loraform_demo.run_kube import Kube
from loraform_demo.run_store import NAMESPACE, read
from loraform_devcluster import config
from loraform_devcluster.builder import Builder
from loraform_devcluster.layout import DEFAULT_STATE, Layout, default_cache
from loraform_devcluster.progress import Progress
from loraform_devcluster.registry import Registry

from .runs import SUITE_ROWS, created, phase_is, small_job, wait

STAGES = ["prepare", "train", "baseline", "evaluate", "publish"]


@contextmanager
def recorded_jobs(kube: Kube) -> Iterator[dict[str, set[str]]]:
    """Record the uid of every Kubernetes Job seen, by name, from a watch."""
    words = (
        "get",
        "jobs",
        f"--namespace={NAMESPACE}",
        "--watch",
        "--output=jsonpath={.metadata.name} {.metadata.uid}{'\\n'}",
    )
    process = subprocess.Popen(kube.kubectl_command(*words), stdout=subprocess.PIPE, text=True)
    seen: dict[str, set[str]] = {}
    try:
        yield seen
    finally:
        process.terminate()
        for line in process.communicate(timeout=10)[0].splitlines():
            if len(words := line.split()) == 2:
                seen.setdefault(words[0], set()).add(words[1])


def kill_operator(kube: Kube) -> None:
    pods = "--selector=app.kubernetes.io/component=operator"
    kube.run("delete", "pods", pods, f"--namespace={OPERATOR_NAMESPACE}", "--grace-period=0", "--force", timeout=60)


@pytest.fixture(scope="module")
def next_build(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The reference of an operator image built from sources that differ from the installed one's."""
    checkout = tmp_path_factory.mktemp("next")
    for name in ("pyproject.toml", "uv.lock", ".dockerignore"):
        shutil.copy2(ROOT / name, checkout)
    (checkout / ".tools").symlink_to(ROOT / ".tools")
    for part in ("api", "base-image", "operator"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    with (checkout / "operator/src/loraform_operator/__init__.py").open("a") as source:
        source.write("\nBUILD = 'next'\n")
    layout = Layout(checkout, default_cache(), DEFAULT_STATE)
    return Builder(layout, Registry(config.REGISTRY), Progress()).load(["operator"])["operator"]


@pytest.fixture(scope="module")
def upgrade(kube: Kube, next_build: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], None]]:
    """A function that upgrades the release to the next build; the installed one comes back after the tests."""
    installed = BUILD / "demo-values.yaml"
    values = yaml.safe_load(installed.read_text())
    values["images"]["operator"] = split_reference(next_build)
    path = tmp_path_factory.mktemp("upgrade") / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    yield lambda: kube.install(RELEASE, CHART, OPERATOR_NAMESPACE, path, 180)
    kube.install(RELEASE, CHART, OPERATOR_NAMESPACE, installed, 180)


@dataclass(frozen=True)
class Disturbed:
    """The run at its end, and what was seen of it on the way."""

    status: dict[str, Any]
    jobs: dict[str, set[str]]
    """The uid of each Kubernetes Job that there ever was, by stage."""
    upgraded_to: list[str]
    """The operator's images right after the upgrade."""
    phase_after_upgrade: str
    train_pods: list[str]
    """The uid of each train pod before the upgrade, and right after it."""
    lost_pod: str


def train_pods(kube: Kube, name: str) -> list[dict[str, Any]]:
    selector = f"--selector=loraform.dev/finetunejob={name},loraform.dev/stage=train"
    return [pod["metadata"] for pod in kube.items("pods", NAMESPACE, selector)]


@pytest.fixture(scope="module")
def disturbed(kube: Kube, upgrade: Callable[[], None]) -> Iterator[Disturbed]:
    """Run a merged job to its end, through all that can happen to it on the way."""
    body = small_job("survivor")
    body["spec"]["output"]["merge"] = True
    body["spec"]["lora"] |= {"variant": "DoRA"}
    with created(kube, body) as name:
        with recorded_jobs(kube) as seen:
            wait(kube, name, phase_is("Preparing"), 120)
            kill_operator(kube)
            wait(kube, name, phase_is("Training"), 600)
            before = train_pods(kube, name)
            upgrade()
            pods = [p for p in kube.items("pods", OPERATOR_NAMESPACE) if "deletionTimestamp" not in p["metadata"]]
            images = [c["image"] for p in pods for c in p["spec"]["containers"]]
            after = train_pods(kube, name)
            phase = wait(kube, name, lambda s: "phase" in s, 10)["phase"]
            wait(
                kube,
                name,
                lambda s: s.get("phase") == "Training" and s.get("progress", {}).get("percentage", 0) >= 20,
                600,
            )
            kube.run("delete", f"pod/{after[0]['name']}", f"--namespace={NAMESPACE}", timeout=120)
            kill_operator(kube)
            for stage in ("Evaluating", "Publishing"):
                wait(kube, name, phase_is(stage), 600)
                kill_operator(kube)
            status = wait(kube, name, phase_is("Succeeded"), 300)
        print(f"\nattempts: {status['attempts']}\nstages: {status['stages']}\nevaluation: {status['evaluation']}")
        jobs = {job.rsplit("-", 1)[1]: uids for job, uids in seen.items() if job.startswith(f"{name}-")}
        uids = [pod["uid"] for pods in (before, after) for pod in pods]
        yield Disturbed(status, jobs, images, phase, uids, after[0]["name"])


def test_an_upgrade_of_the_operator_during_training_restarts_nothing(disturbed: Disturbed, next_build: str) -> None:
    assert disturbed.upgraded_to == [next_build, next_build]
    assert disturbed.phase_after_upgrade == "Training", "the upgrade came too late"
    assert len(disturbed.train_pods) == 2
    assert len(set(disturbed.train_pods)) == 1


def test_a_run_survives_the_loss_of_its_pod_and_of_the_operator(disturbed: Disturbed) -> None:
    status = disturbed.status
    assert [(a["reason"], a["pod"]) for a in status["attempts"]] == [("SavedAndStopped", disturbed.lost_pod)]
    train = next(s for s in status["stages"] if s["name"] == "train")
    assert "resumed from step" in train["summary"]
    assert sorted(disturbed.jobs) == sorted(STAGES)
    assert all(len(uids) == 1 for uids in disturbed.jobs.values()), disturbed.jobs


def test_a_merged_model_is_measured_as_it_is_published(disturbed: Disturbed, kube: Kube) -> None:
    status = disturbed.status
    assert [s["name"] for s in status["stages"]] == STAGES
    arms = {arm["name"]: arm for arm in status["evaluation"]["arms"]}
    assert arms.keys() == {"Base", "BaseWithPolicy", "Candidate"}
    assert {arm["rows"] for arm in arms.values()} == {SUITE_ROWS}
    folder = status["artifact"]["uri"].removeprefix("pvc://").partition("/")[2]
    files = json.loads(read(kube, f"{folder}/manifest.json"))["files"]
    assert {"model/config.json", "model/tokenizer.json", "model/model.safetensors"} <= files.keys()
    assert "quantization_config" not in json.loads(read(kube, f"{folder}/model/config.json"))
