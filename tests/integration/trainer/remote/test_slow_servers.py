"""Servers that keep the line open and send next to nothing, real ones: the client's clock alone is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loraform_api.failures import ExitCode
from loraform_api.sources import S3Location
from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.remote.body import LEAST_BYTES, MAX_DOCUMENT_BYTES, PATIENCE_SECONDS, Clock
from loraform_trainer.remote.s3 import Bucket
from loraform_trainer.remote.web import HTTPClient
from loraform_trainer.runtime.errors import DatasetInvalidError

from .https_server import Server

Read = Callable[[RemoteAccess, Server, Path, Clock], object]
RECORD = 16 << 10
"""Bytes that TLS brings at once."""


@dataclass
class Drip:
    """A body of which a part is sent each time that its reader looks at the clock, which goes on by `seconds` then."""

    part: bytes
    parts: int
    seconds: float
    sent: int = 0
    now: float = 0.0
    _looked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def clock(self) -> float:
        self.now += self.seconds
        self._looked.release()
        return self.now

    def __iter__(self) -> Iterator[bytes]:
        while self.sent < self.parts and self._looked.acquire(timeout=30):
            self.sent += 1
            yield self.part


def http(access: RemoteAccess, server: Server, target: Path, clock: Clock) -> object:
    return HTTPClient(access, clock=clock).save(server.url("/b/rows"), target)


def document(access: RemoteAccess, server: Server, target: Path, clock: Clock) -> object:
    web, url = HTTPClient(access, clock=clock), server.url("/b/rows")
    with web.open(url) as response:
        return target.write_bytes(web.read(response, url))


def bucket(access: RemoteAccess, server: Server, target: Path, clock: Clock) -> object:
    return _bucket(access, server, clock).save("rows", target, max_bytes=1 << 30)


def manifest(access: RemoteAccess, server: Server, target: Path, clock: Clock) -> object:
    return target.write_bytes(_bucket(access, server, clock).read("rows") or b"")


def _bucket(access: RemoteAccess, server: Server, clock: Clock) -> Bucket:
    return Bucket(access, S3Location(endpoint=server.url(""), region="us-east-1"), "b", clock)


READS = pytest.mark.parametrize("read", [http, document, bucket, manifest])


@pytest.fixture
def access(tls: tuple[Path, Path]) -> RemoteAccess:
    return RemoteAccess("the field", DatasetInvalidError, ca_file=tls[0])


@READS
def test_a_server_that_drips_is_given_up(
    read: Read, access: RemoteAccess, server: Server, caught: Any, tmp_path: Path
) -> None:
    drip = Drip(b"x", parts=10_000, seconds=5.0)
    server.answers["/b/rows"] = (200, {}, drip)
    with caught:
        read(access, server, tmp_path / "rows", drip.clock)
    caught.says(ExitCode.TRAINER_ERROR, "the field: ", "/rows was too slow: 0.", " bytes/s for a minute")
    assert drip.sent < 100


@READS
def test_a_slow_server_is_waited_for(read: Read, access: RemoteAccess, server: Server, tmp_path: Path) -> None:
    least = LEAST_BYTES // RECORD / PATIENCE_SECONDS  # records in a second
    drip = Drip(b"x" * RECORD, parts=MAX_DOCUMENT_BYTES // RECORD, seconds=0.9 / least)
    server.answers["/b/rows"] = (200, {}, drip)
    read(access, server, tmp_path / "rows", drip.clock)
    assert (tmp_path / "rows").stat().st_size == MAX_DOCUMENT_BYTES
    assert drip.now > 5 * PATIENCE_SECONDS


@READS
def test_time_that_the_reader_itself_takes_is_not_the_servers(
    read: Read, access: RemoteAccess, server: Server, tmp_path: Path
) -> None:
    looks = 0

    def clock() -> float:  # stands still while a part is waited for, and goes on for an hour between parts
        nonlocal looks
        looks += 1
        return (looks - 1) // 2 * 3600.0

    server.answers["/b/rows"] = (200, {}, [b"x"] * 100)
    read(access, server, tmp_path / "rows", clock)
    assert (tmp_path / "rows").stat().st_size == 100
