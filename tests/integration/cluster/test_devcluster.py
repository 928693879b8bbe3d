"""The one-machine cluster is a real one: a restricted pod finds DNS, a volume, its token, and a process on the host."""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

AUDIENCE = "loraform.dev/tests/somebody"
PROBE = """
import json, os, pathlib, socket, urllib.request
token = pathlib.Path("/var/run/token/token").read_text()
pathlib.Path("/data/written").write_text("by uid %d" % os.getuid())
try:
    pathlib.Path("/forbidden").write_text("")
    root = "writable"
except OSError as error:
    root = error.strerror
print(json.dumps({
    "api": socket.gethostbyname("kubernetes.default.svc"),
    "token": token,
    "uid": os.getuid(),
    "root": root,
    "data": pathlib.Path("/data/written").read_text(),
    "host": urllib.request.urlopen(os.environ["HOST_SERVICE"], timeout=10).read().decode(),
}))
"""


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from the host")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def host_port(node_address: str) -> Iterator[int]:
    """A web server on the node's address, as an operator run outside the cluster would listen."""
    server = http.server.ThreadingHTTPServer((node_address, 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def node_address(api: client.ApiClient) -> str:
    node = client.CoreV1Api(api).list_node().items[0]
    return next(a.address for a in node.status.addresses if a.type == "InternalIP")


@pytest.fixture(scope="session")
def image(kubeconfig: Path) -> str:
    """Reference of an image that has Python and was made by the real Dockerfile."""
    command = [sys.executable, "-m", "loraform_devcluster", "load-images", "operator", "--output=json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return str(json.loads(done.stdout)["operator"])


def manifests(namespace: str, image: str, node_address: str, port: int) -> str:
    restricted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    token = {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 600, "path": "token"}}
    container = {
        "name": "probe",
        "image": image,
        "command": ["python", "-c", PROBE],
        "env": [{"name": "HOST_SERVICE", "value": f"http://on-the-host.{namespace}.svc:8000"}],
        "securityContext": restricted,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "token", "mountPath": "/var/run/token"}],
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "token", "projected": {"sources": [token]}},
        ],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    slice_ = {
        "addressType": "IPv4",
        "endpoints": [{"addresses": [node_address]}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }
    service_label = {"kubernetes.io/service-name": "on-the-host"}
    objects = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "on-the-host"},
            "spec": {"ports": [{"name": "http", "port": 8000, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "on-the-host", "labels": service_label},
            **slice_,
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": pod},
    ]
    return yaml.safe_dump_all(objects)


def claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


def test_restricted_pod_has_dns_volume_token_and_host(
    kubeconfig: Path, api: client.ApiClient, namespace: str, image: str, node_address: str, host_port: int
) -> None:
    core = client.CoreV1Api(api)
    core.patch_namespace(namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    kubectl = subprocess.run(
        [sys.executable, "-m", "loraform_devcluster", "tools", "kubectl"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    start = [kubectl, "--kubeconfig", str(kubeconfig), "--namespace", namespace]
    objects = manifests(namespace, image, node_address, host_port)
    subprocess.run([*start, "apply", "--filename=-"], check=True, input=objects, text=True)
    done = "--for=jsonpath={.status.phase}=Succeeded"
    subprocess.run([*start, "wait", "pod/probe", done, "--timeout=120s"], check=True)
    said = json.loads(core.read_namespaced_pod_log("probe", namespace))

    token = claims(said.pop("token"))
    assert token["aud"] == [AUDIENCE]
    assert token["kubernetes.io"]["pod"]["name"] == "probe"
    assert said == {
        "api": "10.96.0.1",
        "uid": 65532,
        "root": "Read-only file system",
        "data": "by uid 65532",
        "host": "hello from the host",
    }
    volume = core.read_namespaced_persistent_volume_claim("data", namespace).spec.volume_name
    terms = core.read_persistent_volume(volume).spec.node_affinity.required.node_selector_terms
    assert terms[0].match_expressions[0].values == ["loraform-devcluster"]
