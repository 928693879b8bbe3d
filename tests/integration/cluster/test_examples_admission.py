"""What a real API server answers to the examples: good ones are taken, bad ones get the words they announce."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from .conftest import install

GATEWAY_API, GATEWAY_API_SUM = "sigs.k8s.io/gateway-api@v1.4.1", "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8="
"""Go module with the definition of HTTPRoute, and its checksum: no cluster has it by itself."""
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


@pytest.fixture(scope="session")
def http_routes(api: client.ApiClient) -> None:
    """Install the definition of HTTPRoute, from the module that publishes it."""
    if shutil.which("go") is None:
        pytest.skip("needs Go, which fetches the definition of HTTPRoute")
    command = ["go", "mod", "download", "-json", GATEWAY_API]
    module = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout)
    assert module["Sum"] == GATEWAY_API_SUM
    file = Path(module["Dir"]) / "config" / "crd" / "standard" / "gateway.networking.k8s.io_httproutes.yaml"
    install(client.ApiextensionsV1Api(api), yaml.safe_load(file.read_text()))


@pytest.mark.usefixtures("http_routes")
@pytest.mark.parametrize("path", TAKEN, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_the_other_examples_are_taken(api: client.ApiClient, kubeconfig: Path, namespace: str, path: Path) -> None:
    answer = apply(kubeconfig, namespace, path)
    assert answer.returncode == 0, answer.stderr
