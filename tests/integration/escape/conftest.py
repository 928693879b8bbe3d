"""What every escape test stands on: the real toolchain, planted secrets, and listeners that must hear nothing."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loraform_verifier.toolchain import Terraform, ToolchainError, discover


@dataclass(frozen=True, slots=True)
class Planted:
    """A secret that the verifier's user can read, in the places where secrets lie."""

    mark: str
    """The secret itself."""
    file: Path
    """A file with it, which a local terraform state could be, too."""
    home: Path
    """A home with it in `.aws/credentials` and in a service account token."""


def plant(folder: Path) -> Planted:
    """Plant a fresh secret in `folder`."""
    mark = f"planted-{secrets.token_hex(8)}"
    state = {"version": 4, "serial": 1, "lineage": "x", "resources": []}
    outputs = {"secret": {"value": mark, "type": "string"}}
    (folder / "secret").write_text(json.dumps(state | {"terraform_version": "1.0.0", "outputs": outputs}))
    aws = folder / ".aws"
    aws.mkdir()
    keys = f"aws_access_key_id = {mark}\naws_secret_access_key = {mark}\n"
    (aws / "credentials").write_text(f"[default]\n{keys}[planted]\n{keys}")
    (folder / "token").write_text(mark)
    return Planted(mark, folder / "secret", folder)


class Listeners:
    """A TCP and a UDP socket on one loopback port; what either hears is kept."""

    def __init__(self) -> None:
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._heard: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                self._heard.append(b"tcp " + connection.recv(1000))
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def heard(self) -> list[bytes]:
        """Return what came since the last call, once calls of our own that came last were heard too."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as last:
            last.sendall(b"last")
            last.recv(1000)
        found, self._heard = self._heard, []
        assert found.pop() == b"tcp last"
        self._udp.sendto(b"last", ("127.0.0.1", self.port))
        while (datagram := self._udp.recv(1000)) != b"last":
            found.append(b"udp " + datagram)
        return found

    def close(self) -> None:
        self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()
        self._udp.close()
        self._thread.join(10)


@pytest.fixture(scope="module")
def terraform() -> Terraform:
    try:
        return discover()
    except ToolchainError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    """Listeners that must have heard nothing when a module's tests are over."""
    started = Listeners()
    yield started
    heard = started.heard()
    started.close()
    assert heard == []


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """A secret in a file, in this process's environment and in its home."""
    found = plant(tmp_path)
    monkeypatch.setenv("HOME", str(found.home))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(found.home / ".aws/credentials"))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(found.home / "token"))
    for name in ("AWS_SECRET_ACCESS_KEY", "TF_VAR_secret", "TF_CLI_ARGS", "LORAFORM_PLANTED"):
        monkeypatch.setenv(name, found.mark)
    return found
