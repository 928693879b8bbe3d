"""The endpoint's certificate over real TLS: renewed while it serves, and never half."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from loraform_gateway.listening import listening_socket, serving
from loraform_gateway.tls import Certificate
from loraform_operator.endpoint.certificates import KeyPair, make_ca, make_leaf

from ..waiting import wait_for
from .mounted import MountedSecret

NAME = "picloud.demo.svc"


class Secret(MountedSecret):
    """Certificates of a CA of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ca = make_ca(datetime.now(UTC))
        self.trust = ssl.create_default_context(cadata=self._ca.certificate)

    def pair(self) -> KeyPair:
        return make_leaf(self._ca, [NAME], datetime.now(UTC))

    def mount(self, certificate: str, key: str) -> None:
        self.write({"tls.crt": certificate, "tls.key": key})


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    return Secret(tmp_path)


@pytest.fixture
async def served(secret: Secret) -> AsyncIterator[tuple[Certificate, int]]:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app, certificate = web.Application(), Certificate(secret.folder)
    app.router.add_get("/", hello)
    sock = listening_socket("127.0.0.1", 0)
    async with serving(app, sock, certificate.context):
        yield certificate, sock.getsockname()[1]


async def connect(secret: Secret, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """Return a connection that checked the certificate, and that certificate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=secret.trust, server_hostname=NAME)
    return reader, writer, writer.get_extra_info("ssl_object").getpeercert(binary_form=True)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(5)


async def test_a_renewed_certificate_is_used_by_new_connections(
    secret: Secret, served: tuple[Certificate, int]
) -> None:
    certificate, port = served
    assert "`spec.serving.tls.secretRef`" in certificate.problem
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await connect(secret, port)
    first, second = secret.pair(), secret.pair()
    secret.mount(first.certificate, first.key)
    certificate.refresh()
    assert certificate.problem == ""
    reader, writer, seen = await connect(secret, port)
    assert seen == ssl.PEM_cert_to_DER_cert(first.certificate)
    secret.mount(second.certificate, second.key)
    certificate.refresh()
    assert (await connect(secret, port))[2] == ssl.PEM_cert_to_DER_cert(second.certificate)
    assert await ask(reader, writer) == b"hello", "the first connection goes on"


@pytest.mark.parametrize("broken", ["another's key", "no key", "text"])
async def test_an_unusable_pair_leaves_the_last_one(
    secret: Secret, served: tuple[Certificate, int], caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    certificate, port = served
    good, other = secret.pair(), secret.pair()
    secret.mount(good.certificate, good.key)
    certificate.refresh()
    keys = {"another's key": other.key, "no key": "", "text": "hunter2"}
    secret.mount(other.certificate if broken == "no key" else good.certificate, keys[broken])
    certificate.refresh()
    assert "the last pair stays in force" in caplog.text
    assert "hunter2" not in caplog.text
    reader, writer, seen = await connect(secret, port)
    assert seen == ssl.PEM_cert_to_DER_cert(good.certificate)
    assert await ask(reader, writer) == b"hello"
    assert certificate.problem == ""


async def test_changes_are_followed(secret: Secret, served: tuple[Certificate, int]) -> None:
    certificate, port = served
    following = asyncio.create_task(certificate.follow(seconds=0.01))
    pair = secret.pair()
    secret.mount(pair.certificate, pair.key)
    await asyncio.to_thread(wait_for, "the certificate", lambda: not certificate.problem)
    following.cancel()
    assert (await connect(secret, port))[2] == ssl.PEM_cert_to_DER_cert(pair.certificate)


async def test_tls_is_of_this_decade(served: tuple[Certificate, int]) -> None:
    assert served[0].context.minimum_version is ssl.TLSVersion.TLSv1_2
