"""The demo's namespace, its user's claim, and the pod that copies files to and from the claim."""

from __future__ import annotations

import io
import sys
import tarfile
from typing import Any

import yaml

from loraform_demo.run_cluster import BUILD, ROOT
from loraform_demo.run_kube import Kube, call

NAMESPACE = "demo"
CLAIM = "demo-store"
LOADER = "loader"
STORE = "/store"
DATA = BUILD / "demo-data"
BASE_MODEL = ROOT / "demo" / "base-model"
SHUFFLED = "dataset-shuffled.jsonl"


def loader_pod(image: str) -> dict[str, Any]:
    """Return a pod that mounts the claim and waits; `image` must have sh, tar and cat."""
    container = {
        "name": LOADER,
        "image": image,
        "command": ["sleep", "infinity"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [{"name": "store", "mountPath": STORE}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": LOADER, "namespace": NAMESPACE},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": CLAIM}}],
        },
    }


def make_data() -> dict[str, int]:
    """Write the job's rows, their shuffled twin and the held-out suite; return the number of rows by file."""
    command = [sys.executable, "-m", "loraform_demo.make_data", "--output", str(DATA), "--shuffled"]
    call(command, timeout=300)
    return {path.name: len(path.read_text().splitlines()) for path in sorted(DATA.glob("*.jsonl"))}


def archive() -> bytes:
    """Return base model and data as one tar stream, readable for the pods' user."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder, name in ((BASE_MODEL, "base-model"), (DATA, "data")):
            tar.add(folder, arcname=name, filter=_plain)
    return buffer.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 65532
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def fill(kube: Kube, image: str) -> int:
    """Make namespace, claim and loader pod, and copy base model and data into the claim; return the bytes copied."""
    kube.apply(*yaml.safe_load_all((ROOT / "examples" / "store.yaml").read_text()))
    kube.run("delete", "pod", LOADER, f"--namespace={NAMESPACE}", "--ignore-not-found")  # an older image may run in it
    kube.apply(loader_pod(image))
    ready = ("--for=condition=Ready", "--timeout=180s")
    kube.run("wait", f"pod/{LOADER}", f"--namespace={NAMESPACE}", *ready, timeout=200)
    stream = archive()
    kube.run(*_exec("tar", "-x", "-C", STORE, "-f", "-"), stdin=stream, timeout=180)
    return len(stream)


def read(kube: Kube, path: str) -> str:
    """Return the text of a file in the claim."""
    return kube.run(*_exec("cat", f"{STORE}/{path}"), timeout=120)


def write(kube: Kube, path: str, text: str) -> None:
    """Write a file of the claim."""
    kube.run(*_exec("sh", "-c", f"cat > {STORE}/{path}"), stdin=text.encode(), timeout=120)


def _exec(*arguments: str) -> tuple[str, ...]:
    return ("exec", "-i", LOADER, f"--namespace={NAMESPACE}", "--", *arguments)
