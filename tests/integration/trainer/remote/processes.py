"""The real servers of this folder: versitygw for S3, CNCF distribution for OCI. Both speak TLS on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

DEADLINE_SECONDS = 30.0


def tool(name: str) -> str:
    """Return the path of a program, built by devcluster where this machine lacks it."""
    command = [sys.executable, "-m", "loraform_devcluster", "tools", name]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def running(command: Sequence[str | Path], port: int, folder: Path) -> Iterator[None]:
    """Run a server until the block ends; it is up when its port answers."""
    log = folder / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder) as process,
    ):
        try:
            _wait(process, port, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"{process.args!r} did not come up: {log.read_text()[-2000:]}")


def registry_config(folder: Path, port: int, certificate: tuple[Path, Path], auth: dict[str, object]) -> Path:
    """Write distribution's configuration (YAML, of which JSON is a part)."""
    config = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}},
        "http": {
            "addr": f"127.0.0.1:{port}",
            "tls": {"certificate": str(certificate[0]), "key": str(certificate[1])},
        },
        "auth": auth,
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(config))
    return path
