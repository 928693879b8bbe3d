"""Progress over TLS, as a pod's environment describes it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loraform_api.names import ENV_SERVER_CA, ENV_SERVER_TOKEN, ENV_SERVER_URL, progress_path
from loraform_api.run import ProgressMessage
from loraform_trainer.runtime.progress import Progress, sender


class Endpoint:
    """Keeps what arrives at the path of one job."""

    def __init__(self, status: int = 200, location: str = "") -> None:
        self.calls: list[tuple[str, ProgressMessage]] = []
        self._status = status
        self._location = location

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(progress_path("team", "job"), self.receive)
        app.router.add_route("*", "/elsewhere", self.receive)
        return app

    async def receive(self, request: web.Request) -> web.Response:
        message = ProgressMessage.model_validate_json(await request.read() or "{}")
        self.calls.append((request.headers["Authorization"], message))
        return web.json_response({}, status=self._status, headers={"Location": self._location})


async def report(endpoint: Endpoint, certificate: tuple[Path, Path], ca: Path, token: Path) -> None:
    """Run a short stage whose environment names `endpoint`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = TestServer(endpoint.app(), scheme="https")
    await server.start_server(ssl=context)
    url = f"https://127.0.0.1:{server.port}{progress_path('team', 'job')}"
    environment = {ENV_SERVER_URL: url, ENV_SERVER_CA: str(ca), ENV_SERVER_TOKEN: str(token)}
    await asyncio.to_thread(use, environment)
    await server.close()


def use(environment: dict[str, str]) -> None:
    with Progress(sender(environment), interval=0) as progress:
        progress.update(0.5, metrics={"loss": "0.25"})


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("secret-token\n")
    return file


async def test_messages_carry_the_token_and_trust_the_mounted_ca(certificate: tuple[Path, Path], token: Path) -> None:
    endpoint = Endpoint()
    await report(endpoint, certificate, certificate[0], token)
    assert {authorization for authorization, _ in endpoint.calls} == {"Bearer secret-token"}
    last = endpoint.calls[-1][1].trainer_status
    assert last.progress_percentage == 100


async def test_another_certificate_gets_no_token(certificate: tuple[Path, Path], token: Path, tmp_path: Path) -> None:
    """An empty CA file trusts nobody; the stage goes on."""
    endpoint = Endpoint()
    empty = tmp_path / "other.crt"
    empty.write_text("")
    await report(endpoint, certificate, empty, token)
    assert endpoint.calls == []


@pytest.mark.parametrize("status", [301, 307, 500])
async def test_errors_and_redirects_end_the_delivery(certificate: tuple[Path, Path], token: Path, status: int) -> None:
    endpoint = Endpoint(status, "/elsewhere")
    await report(endpoint, certificate, certificate[0], token)
    assert endpoint.calls
    assert all(message.trainer_status.last_updated_time for _, message in endpoint.calls)


def test_outside_of_a_run_there_is_no_delivery() -> None:
    assert sender({}) is None
