"""A run survives the loss of its train pod, the loss and the upgrade of the operator; deletion needs no operator."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from loraform_demo.run_cluster import BUILD, CHART, OPERATOR_NAMESPACE, RELEASE, ROOT, split_reference
from loraform_demo.run_kube import DemoError, Kube
from loraform_demo.run_store import NAMESPACE
from loraform_devcluster import config
from loraform_devcluster.builder import Builder
from loraform_devcluster.layout import DEFAULT_STATE, Layout, default_cache
from loraform_devcluster.progress import Progress
from loraform_devcluster.registry import Registry

from .runs import JOBS, few_rows, phase_is, small_job, wait


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


def test_a_run_survives_the_loss_of_its_pod_and_of_the_operator(kube: Kube) -> None:
    name = "survivor"
    kube.apply(few_rows(name))
    with recorded_jobs(kube) as seen:
        kube.apply(small_job(name))
        wait(kube, name, phase_is("Preparing"), 120)
        kill_operator(kube)
        wait(
            kube, name, lambda s: s.get("phase") == "Training" and s.get("progress", {}).get("percentage", 0) >= 20, 600
        )
        kube.run(
            "delete",
            "pods",
            f"--selector=loraform.dev/finetunejob={name},loraform.dev/stage=train",
            f"--namespace={NAMESPACE}",
            timeout=120,
        )
        kill_operator(kube)
        wait(kube, name, phase_is("Evaluating"), 600)
        kill_operator(kube)
        wait(kube, name, phase_is("Publishing"), 600)
        kill_operator(kube)
        status = wait(kube, name, phase_is("Succeeded"), 300)
    stopped = [a for a in status["attempts"] if a["reason"] == "SavedAndStopped"]
    print(f"\nattempts: {status['attempts']}\nstages: {status['stages']}")
    assert len(stopped) == 1
    train = next(s for s in status["stages"] if s["name"] == "train")
    assert "resumed from step" in train["summary"]
    mine = {job: uids for job, uids in seen.items() if job.startswith(f"{name}-")}
    assert sorted(job.rsplit("-", 1)[1] for job in mine) == ["evaluate", "prepare", "publish", "train"]
    assert all(len(uids) == 1 for uids in mine.values()), mine


@pytest.fixture(scope="module")
def next_build(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The reference of an operator image built from sources that differ from the installed one's."""
    checkout = tmp_path_factory.mktemp("next")
    for name in ("pyproject.toml", "uv.lock", ".dockerignore"):
        shutil.copy2(ROOT / name, checkout)
    (checkout / ".tools").symlink_to(ROOT / ".tools")
    for part in ("api", "operator"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    with (checkout / "operator/src/loraform_operator/__init__.py").open("a") as source:
        source.write("\nBUILD = 'next'\n")
    layout = Layout(checkout, default_cache(), DEFAULT_STATE)
    return Builder(layout, Registry(config.REGISTRY), Progress()).load(["operator"])["operator"]


@pytest.fixture
def upgrade(kube: Kube, next_build: str, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A function that upgrades the release to the next build; the installed one comes back after the test."""
    installed = BUILD / "demo-values.yaml"
    values = yaml.safe_load(installed.read_text())
    values["images"]["operator"] = split_reference(next_build)
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    yield lambda: kube.install(RELEASE, CHART, OPERATOR_NAMESPACE, path, 180)
    kube.install(RELEASE, CHART, OPERATOR_NAMESPACE, installed, 180)


def test_an_upgrade_of_the_operator_during_training_restarts_nothing(
    kube: Kube, upgrade: Callable[[], None], next_build: str
) -> None:
    name = "upgraded"
    kube.apply(few_rows(name))
    with recorded_jobs(kube) as seen:
        kube.apply(small_job(name))
        wait(kube, name, phase_is("Training"), 300)
        upgrade()
        operator = kube.items("pods", OPERATOR_NAMESPACE)
        assert [c["image"] for p in operator for c in p["spec"]["containers"]] == [next_build]
        assert wait(kube, name, lambda s: "phase" in s, 10)["phase"] == "Training", "the upgrade came too late"
        status = wait(kube, name, phase_is("Succeeded"), 900)
    assert status.get("attempts", []) == []
    assert "resumed" not in next(s for s in status["stages"] if s["name"] == "train")["summary"]
    jobs = {job: uids for job, uids in seen.items() if job.startswith(f"{name}-")}
    print(f"\njobs: {jobs}\nstages: {status['stages']}")
    assert sorted(job.rsplit("-", 1)[1] for job in jobs) == ["evaluate", "prepare", "publish", "train"]
    assert all(len(uids) == 1 for uids in jobs.values()), jobs


@pytest.fixture
def without_operator(kube: Kube) -> Iterator[None]:
    """The operator scaled to nothing for one test."""
    deployment = kube.items("deployments", OPERATOR_NAMESPACE)[0]["metadata"]["name"]
    where = f"--namespace={OPERATOR_NAMESPACE}"
    kube.run("scale", f"deployment/{deployment}", "--replicas=0", where)
    kube.run("wait", "pods", "--all", "--for=delete", "--timeout=60s", where, timeout=70)
    yield
    kube.run("scale", f"deployment/{deployment}", "--replicas=1", where)
    kube.run("rollout", "status", f"deployment/{deployment}", "--timeout=120s", where, timeout=130)


def test_deletion_needs_no_operator(kube: Kube, without_operator: None) -> None:
    kube.apply(small_job("orphan"))
    try:
        kube.run("delete", JOBS, "orphan", f"--namespace={NAMESPACE}", "--timeout=5s", timeout=10)
    except DemoError as error:
        pytest.fail(f"deletion waited for an operator that is not there: {error}")
