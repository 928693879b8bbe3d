"""The proof of the filter's worth: hostile code planned by hand reaches a listener only where the filter is off.

The program goes to terraform as it is: no denial, no normalisation. Its provider block points S3 at a listener of
ours on loopback, which no network policy of any cluster would stop.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loraform_verifier import isolation
from loraform_verifier.normalise import Normalised
from loraform_verifier.toolchain import Terraform, ToolchainError, child_environment, discover
from loraform_verifier.workspace import lay_out_alone

PROGRAM = """provider "aws" {
  region                      = "us-east-1"
  access_key                  = "fake"
  secret_key                  = "fake"
  max_retries                 = 1
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  endpoints {
    s3 = "http://127.0.0.1:%d"
  }
}

data "aws_s3_bucket" "stolen" {
  bucket = "a-name-that-carries-a-secret"
}
"""


class Listener:
    """Counts connections on a loopback port and answers each with an error."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.heard.append(connection.recv(1000))
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def settled(self) -> list[bytes]:
        """Return what was heard, once a call of our own that came last was heard too."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as last:
            last.sendall(b"last")
            last.recv(1000)
        assert self.heard[-1] == b"last"
        return self.heard[:-1]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def listener() -> Iterator[Listener]:
    started = Listener()
    yield started
    started.close()


@pytest.fixture(scope="module")
def terraform() -> Terraform:
    try:
        return discover()
    except ToolchainError as error:
        pytest.skip(str(error))


def plan(terraform: Terraform, folder: Path, port: int, *, filtered: bool) -> isolation.Finished:
    text = (PROGRAM % port).encode()
    lay_out_alone(folder, terraform, Normalised({"main.tf": text}, frozenset(), root_only=True))
    command = [str(terraform.binary), "plan", "-input=false", "-no-color", "-lock=false"]
    return isolation.run(command, cwd=folder, env=child_environment(folder), seconds=180, filtered=filtered)


def test_under_the_filter_a_listener_hears_nothing(terraform: Terraform, tmp_path: Path, listener: Listener) -> None:
    finished = plan(terraform, tmp_path, listener.port, filtered=True)
    assert listener.settled() == []
    assert finished.returncode == 1
    assert b"reading S3 Bucket (a-name-that-carries-a-secret)" in finished.stderr  # it did try


def test_with_the_filter_off_it_hears_the_secret(terraform: Terraform, tmp_path: Path, listener: Listener) -> None:
    finished = plan(terraform, tmp_path, listener.port, filtered=False)
    assert b"a-name-that-carries-a-secret" in b"".join(listener.settled())
    assert finished.returncode == 1
