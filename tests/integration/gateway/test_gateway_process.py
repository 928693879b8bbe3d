"""The gateway's process with the operator's arguments: a key is replaced, and a certificate renewed, while it runs."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loraform_api import names
from loraform_api.iacmodel import ServingSpec
from loraform_operator.endpoint.certificates import make_ca, make_leaf
from loraform_operator.iacmodel.gateway_options import arguments

from ..waiting import free_port, wait_for
from .mounted import MountedSecret

PAGE = "https://chat.example.org"
SPEC = {"apiKeySecretRef": {"name": "keys"}, "tls": {"secretRef": {"name": "tls"}}, "cors": {"allowedOrigins": [PAGE]}}


def line(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n"


class Gateway:
    """A running gateway with its two mounted Secrets."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.tls = MountedSecret(folder / "keys"), MountedSecret(folder / "tls")
        self._ca = make_ca(datetime.now(UTC))
        self._trust = ssl.create_default_context(cadata=self._ca.certificate)
        self.port, self.metrics_port = free_port(), free_port()
        moved = {names.TLS_DIR: str(self.tls.folder), f"{names.API_KEYS_DIR}/api-keys": f"{self.keys.folder}/api-keys"}
        options = [moved.get(word, word) for word in arguments(ServingSpec.model_validate(SPEC))]
        (folder / "route.json").write_text("")
        here = ["--host", "127.0.0.1", "--route", str(folder / "route.json")]
        ports = ["--port", str(self.port), "--metrics-port", str(self.metrics_port)]
        environment = {
            names.ENV_ENDPOINT: str(folder / "endpoint"),
            names.ENV_TOKEN: str(folder / "token"),
            names.ENV_POD_NAME: "pod",
            names.ENV_ENGINE_URL: "http://127.0.0.1:1",
        }
        self.log = folder / "log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "loraform_gateway", "gateway", *here, *ports, *options]
            self.process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=log)

    def renew(self) -> str:
        """Mount a new certificate, and return it."""
        pair = make_leaf(self._ca, ["127.0.0.1"], datetime.now(UTC))
        self.tls.write({"tls.crt": pair.certificate, "tls.key": pair.key})
        return pair.certificate

    def ask(self, path: str, key: str = "", method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
        """Return status and headers of an answer over TLS."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self._trust, timeout=20)
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, headers={**bearer, **headers})
        answer = connection.getresponse()
        connection.close()
        return answer.status, dict(answer.headers)

    def certificate(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", self.port), timeout=20))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.process.terminate()
    made.process.wait(30)


def test_keys_and_certificate_come_and_change_without_a_restart(gateway: Gateway) -> None:
    first = gateway.renew()
    wait_for("the certificate", lambda: gateway.ask("/healthz")[0] == 200)
    assert gateway.ask("/v1/models", "sk-one")[0] == 503, "no keys yet"
    gateway.keys.write({"api-keys": line("ci", "sk-one")})
    wait_for("the key", lambda: gateway.ask("/v1/models", "sk-one")[0] == 200)
    assert [gateway.ask("/v1/models", key)[0] for key in ("", "sk-two", "sk-one")] == [401, 401, 200]
    assert gateway.ask("/metrics", "sk-one")[0] == 404
    status, headers = gateway.ask("/v1/chat/completions", method="OPTIONS", Origin=PAGE)
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, PAGE)

    gateway.keys.write({"api-keys": line("ci", "sk-two")})
    wait_for("the new key", lambda: gateway.ask("/v1/models", "sk-two")[0] == 200)
    assert gateway.ask("/v1/models", "sk-one")[0] == 401
    assert gateway.certificate() == ssl.PEM_cert_to_DER_cert(first)
    second = ssl.PEM_cert_to_DER_cert(gateway.renew())
    wait_for("the new certificate", lambda: gateway.certificate() == second)
    assert gateway.process.poll() is None
    assert "sk-" not in gateway.log.read_text()


def test_metrics_need_neither_tls_nor_key(gateway: Gateway) -> None:
    def answered() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.metrics_port, timeout=20)
        connection.request("GET", "/metrics")
        return b"loraform_gateway_requests_total" in connection.getresponse().read()

    wait_for("the metrics", answered)
