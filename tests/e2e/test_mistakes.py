"""Ten bad manifests (examples/bad): each is refused, or says in a condition what is wrong and what to do."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loraform_demo.run_kube import DemoError, Kube
from loraform_demo.run_store import LOADER, NAMESPACE, loader_pod

BAD = sorted((Path(__file__).resolve().parents[2] / "examples" / "bad").glob("*.yaml"))
HOST = f"files.{NAMESPACE}.svc"
SERVER = """
import http.server, ssl
server = http.server.HTTPServer(("", 8443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def expectation(path: Path) -> str:
    found = re.search(r"^# expect: (.*)$", path.read_text(), re.MULTILINE)
    assert found is not None, f"{path} has no '# expect:' line"
    return found.group(1)


def certificate() -> tuple[str, str]:
    """A self-signed certificate for the file server, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return built.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture(scope="module")
def file_server(kube: Kube) -> Iterator[None]:
    """An https server in the cluster, with a CA of its own, that serves the demo's data."""
    loader = kube.get("pod", NAMESPACE, LOADER)
    assert loader is not None
    pod = loader_pod(loader["spec"]["containers"][0]["image"])
    pod["metadata"] = {"name": "files", "namespace": NAMESPACE, "labels": {"app": "files"}}
    container = pod["spec"]["containers"][0]
    container["command"] = ["python3", "-c", SERVER]
    container["workingDir"] = "/store/data"
    container["volumeMounts"].append({"name": "tls", "mountPath": "/tls"})
    container["readinessProbe"] = {"tcpSocket": {"port": 8443}, "periodSeconds": 1}
    pod["spec"]["volumes"].append({"name": "tls", "secret": {"secretName": "files-tls"}})
    cert, key = certificate()
    meta = {"namespace": NAMESPACE}
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**meta, "name": "files-tls"},
            "stringData": {"tls.crt": cert, "tls.key": key},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "name": "files-ca"}, "data": {"ca.crt": cert}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**meta, "name": "files"},
            "spec": {"selector": {"app": "files"}, "ports": [{"port": 443, "targetPort": 8443}]},
        },
        pod,
    )
    kube.run("wait", "pod/files", f"--namespace={NAMESPACE}", "--for=condition=Ready", "--timeout=60s", timeout=70)
    yield
    for what in ("pod/files", "service/files", "secret/files-tls", "configmap/files-ca"):
        kube.run("delete", what, f"--namespace={NAMESPACE}")


def condition(kube: Kube, name: str, type_: str) -> dict[str, Any]:
    job = kube.get("finetunejobs.loraform.dev", NAMESPACE, name) or {}
    found = job.get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == type_), {})


def apply_each(kube: Kube, path: Path) -> str:
    """Apply the manifest's objects one after another; return the first refusal, or an empty text."""
    for body in yaml.safe_load_all(path.read_text()):
        try:
            kube.run("apply", "-f", "-", stdin=json.dumps(body))  # a list of objects is refused in kubectl's own words
        except DemoError as error:
            return str(error)
    return ""


@pytest.fixture(scope="module")
def refusals(kube: Kube, file_server: None) -> Iterator[dict[Path, str]]:
    """Apply every manifest, so that one waits while another is answered; yields the refusal of each, or ""."""
    yield {path: apply_each(kube, path) for path in BAD}
    kube.run(
        "delete", *(f"--filename={path}" for path in BAD), "--ignore-not-found", "--cascade=foreground", timeout=120
    )


@pytest.mark.parametrize("path", BAD, ids=[p.stem for p in BAD])
def test_a_mistake_is_answered_in_words_that_help(kube: Kube, refusals: dict[Path, str], path: Path) -> None:
    expected = expectation(path)
    if expected.startswith("refused: "):
        assert expected.removeprefix("refused: ") in refusals[path]
        return
    assert refusals[path] == ""
    name = next(b["metadata"]["name"] for b in yaml.safe_load_all(path.read_text()) if b["kind"] == "FineTuneJob")
    state, reason = expected.split(" ", 1)
    type_, status = state.split("=")
    found = wait_for(kube, name, type_, status, reason)
    assert found["message"], "the condition must say what to do"
    print(f"\n{path.stem}: {state} {found['reason']}: {found['message']}")


def wait_for(kube: Kube, name: str, type_: str, status: str, reason: str, seconds: float = 180) -> dict[str, Any]:
    """Wait for the condition with that status and reason; show what stood there when the deadline passed."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition(kube, name, type_)
        if (found.get("status"), found.get("reason")) == (status, reason):
            return found
        assert time.monotonic() < deadline, f"{type_} of {name} is {found}, not {status} {reason}"
        kube.run("get", "finetunejobs.loraform.dev", f"--namespace={NAMESPACE}")  # one request paces the loop
