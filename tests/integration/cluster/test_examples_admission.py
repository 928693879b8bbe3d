"""What a real API server answers to the examples: good ones are taken, bad ones get the words they announce."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kubernetes import client

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
REFUSED = [path for path in sorted((EXAMPLES / "bad").glob("*.yaml")) if "# expect: refused: " in path.read_text()]
TAKEN = [path for path in sorted(EXAMPLES.rglob("*.yaml")) if path not in REFUSED and path.name != "store.yaml"]


def apply(kubeconfig: Path, namespace: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Apply a file as if it were written for `namespace`."""
    text = path.read_text().replace("namespace: demo", f"namespace: {namespace}")
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "apply", "--validate=strict", "-f", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", REFUSED, ids=lambda p: p.name)
def test_a_bad_manifest_is_refused_with_its_message(
    api: client.ApiClient, kubeconfig: Path, namespace: str, path: Path
) -> None:
    expected = next(line for line in path.read_text().splitlines() if line.startswith("# expect: refused: "))
    answer = apply(kubeconfig, namespace, path)
    assert answer.returncode != 0
    assert expected.removeprefix("# expect: refused: ") in answer.stderr


@pytest.mark.parametrize("path", TAKEN, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_the_other_examples_are_taken(api: client.ApiClient, kubeconfig: Path, namespace: str, path: Path) -> None:
    answer = apply(kubeconfig, namespace, path)
    assert answer.returncode == 0, answer.stderr
