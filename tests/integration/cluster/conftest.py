"""One real Kubernetes for this folder; a namespace of its own for each test that asks."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from ..waiting import wait_for
from .operator_runs import Operator

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Path]:
    """Path of an admin kubeconfig; starts the one-machine cluster when it does not run."""
    path = tmp_path_factory.mktemp("cluster") / "kubeconfig"
    subprocess.run([sys.executable, "-m", "loraform_devcluster", "up"], check=True)
    subprocess.run([sys.executable, "-m", "loraform_devcluster", "kubeconfig", "--output", str(path)], check=True)
    with installed_operator_away(path, pytestconfig):
        yield path


@contextmanager
def installed_operator_away(kubeconfig: Path, config: pytest.Config) -> Iterator[None]:
    """Scale an installed operator to zero meanwhile: it watches all namespaces, and would answer for the tests' own."""
    selector = "--selector=app.kubernetes.io/component=operator"

    def kubectl(*arguments: str) -> str:
        command = ["kubectl", f"--kubeconfig={kubeconfig}", *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    where = "jsonpath={range .items[*]}{.metadata.namespace}{' '}{.metadata.name}{' '}{.spec.replicas}{'\\n'}{end}"
    listed = kubectl("get", "deployments", "--all-namespaces", selector, f"--output={where}")
    deployments = [line.split() for line in listed.splitlines()]
    try:
        for namespace, name, _ in deployments:
            print_line(config, f"{namespace}/{name} is scaled to zero while the cluster's tests run")
            kubectl("scale", f"deployment/{name}", f"--namespace={namespace}", "--replicas=0")
        if deployments:
            kubectl("wait", "pods", "--all-namespaces", selector, "--for=delete", "--timeout=60s")
        yield
    finally:
        for namespace, name, replicas in deployments:
            kubectl("scale", f"deployment/{name}", f"--namespace={namespace}", f"--replicas={replicas}")
            print_line(config, f"{namespace}/{name} is scaled to {replicas} again")


def print_line(config: pytest.Config, line: str) -> None:
    """Print a line past pytest's capture, also in a worker of pytest-xdist."""
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():  # type: ignore[union-attr]
        print(f"\n{line}", file=sys.stderr, flush=True)


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> client.ApiClient:
    """A client of the real API server, with our CRDs installed from `crds/`."""
    api_client = config.new_client_from_config(str(kubeconfig))
    extensions = client.ApiextensionsV1Api(api_client)
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        install(extensions, crd)
    return api_client


def install(extensions: client.ApiextensionsV1Api, crd: dict[str, Any]) -> None:
    """Apply a definition and wait until it is served; right after its creation it may have no conditions at all."""
    name = crd["metadata"]["name"]
    extensions.patch_custom_resource_definition(
        name, crd, field_manager="tests", force=True, _content_type="application/apply-patch+yaml"
    )

    def established() -> bool:
        conditions = extensions.read_custom_resource_definition(name).status.conditions or []
        return any(c.type == "Established" and c.status == "True" for c in conditions)

    wait_for(f"definition {name}", established)


def create_namespace(api: client.ApiClient, **labels: str) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    client.CoreV1Api(api).create_namespace(body)
    return name


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    """A fresh namespace, deleted afterwards."""
    name = create_namespace(api)
    yield name
    client.CoreV1Api(api).delete_namespace(name)


@contextmanager
def running_operator(
    kubeconfig: Path, api: client.ApiClient, count: int, folder: Path, **extra: object
) -> Iterator[Operator]:
    """The operator as a process, for so many fresh namespaces under the restricted Pod Security standard."""
    core = client.CoreV1Api(api)
    node = core.list_node().items[0]
    address = next(a.address for a in node.status.addresses if a.type == "InternalIP")
    namespaces = [create_namespace(api, **{"pod-security.kubernetes.io/enforce": "restricted"}) for _ in range(count)]
    process = Operator(kubeconfig, namespaces, address, folder, extra=extra)
    try:
        process.start()
        yield process
    finally:
        if process.running:
            process.stop()
        for name in namespaces:
            core.delete_namespace(name)


@pytest.fixture(scope="module")
def operator(
    request: pytest.FixtureRequest, kubeconfig: Path, api: client.ApiClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """The operator that a module's tests share; each takes a namespace of its own from it."""
    users = [item for item in request.session.items if item.path == request.path]
    count = sum("operator" in getattr(item, "fixturenames", ()) for item in users)
    with running_operator(kubeconfig, api, count, tmp_path_factory.mktemp("operator")) as process:
        yield process


@pytest.fixture
def lone_operator(kubeconfig: Path, api: client.ApiClient, tmp_path: Path) -> Iterator[Operator]:
    """An operator for one test alone, with one namespace: what it counts is that test's."""
    with running_operator(kubeconfig, api, 1, tmp_path) as process:
        yield process


@pytest.fixture
def quiet_operator(kubeconfig: Path, api: client.ApiClient, tmp_path: Path) -> Iterator[Operator]:
    """The same, with a lease so long that no renewal is among the writes that a test counts."""
    with running_operator(kubeconfig, api, 1, tmp_path, **{"lease-seconds": 600}) as process:
        yield process
