"""Cluster and images of the demo: from devcluster, or from a context that the user names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loraform_demo.run_kube import DemoError, Kube

ROOT = Path(__file__).resolve().parents[3]
"""The checkout."""
BUILD = ROOT / "build"
CHART = ROOT / "charts" / "loraform"
OPERATOR_NAMESPACE = "loraform-system"
RELEASE = "loraform"
CPU_PROFILE: dict[str, Any] = {
    "engineDtype": "float32",
    "engineArgs": ["--enforce-eager"],
    "engineEnv": {"VLLM_CPU_KVCACHE_SPACE": "1"},
    "maxLoraRank": 16,
}
"""How vLLM's CPU build is started; its image is added when it is known."""


def devcluster(*words: str, timeout: float) -> str:
    """Run the devcluster command with its progress on the terminal; return what it wrote to stdout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "devcluster" / "src")}
    command = [sys.executable, "-m", "loraform_devcluster", *words]
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, timeout=timeout, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"`devcluster {' '.join(words)}` did not end within {timeout / 60:.0f} minutes") from error
    if done.returncode != 0:
        raise DemoError(f"`devcluster {' '.join(words)}` failed; its own lines above say why\n{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class ClusterTarget:
    """Where the demo runs: a cluster of its own, or the user's `context`, whose nodes can pull from `registry`."""

    context: str | None = None
    registry: str | None = None

    def options(self) -> list[str]:
        """Return what every devcluster command begins with."""
        return [f"--context={self.context}"] if self.context else []


def make_cluster(target: ClusterTarget) -> Kube:
    """Bring the one-machine cluster up (or find it up), or check that the given one answers; return it."""
    devcluster(*target.options(), "up", timeout=3600)
    if target.context:
        return given_cluster(target.context)
    kubectl, helm = devcluster("tools", "kubectl", "helm", timeout=1800).split()
    kubeconfig = BUILD / "kubeconfig"
    devcluster("kubeconfig", f"--output={kubeconfig}", timeout=60)
    return Kube(kubectl, helm, kubeconfig=str(kubeconfig))


def given_cluster(context: str) -> Kube:
    """Return the cluster of a context, with the user's own kubectl and helm."""
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            raise DemoError(f"--context needs {tool} on PATH")
    return Kube("kubectl", "helm", context=context)


def load_images(target: ClusterTarget) -> dict[str, str]:
    """Build the images, put them where the nodes pull from, and return each one's reference by name."""
    registry = [f"--registry={target.registry}"] if target.registry else []
    text = devcluster(*target.options(), "load-images", "--output=json", *registry, timeout=3600)
    images: dict[str, str] = json.loads(text)
    return images


def split_reference(reference: str) -> dict[str, str]:
    """Split `registry/repository[:tag][@digest]` into the chart's image values."""
    name, _, digest = reference.partition("@")
    registry, _, rest = name.partition("/")
    repository, _, tag = rest.partition(":")
    parts = {"registry": registry, "repository": repository, "tag": tag, "digest": digest}
    return {key: value for key, value in parts.items() if value}


LEASE_SECONDS = 60
"""The demo trains on the processors that its API server needs: a leader that gets none for a while is not gone."""


def chart_values(images: dict[str, str]) -> dict[str, Any]:
    """Return the demo's Helm values: the loaded images and a profile whose engine runs on the CPU."""
    return {
        "images": {name: split_reference(images[name]) for name in ("operator", "trainer", "verifier", "gateway")},
        "profiles": {"cpu": {**CPU_PROFILE, "engineImage": images["engine-cpu"]}},
        "leaseSeconds": LEASE_SECONDS,
    }


def install_chart(kube: Kube, images: dict[str, str]) -> None:
    """Install or upgrade the operator by its chart."""
    values = BUILD / "demo-values.yaml"
    values.write_text(yaml.safe_dump(chart_values(images), sort_keys=False))
    kube.install(RELEASE, CHART, OPERATOR_NAMESPACE, values, timeout=180)
