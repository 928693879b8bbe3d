"""Progress over TLS, as a pod's mounted files describe it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loraform_api.endpoint import OperatorEndpoint
from loraform_api.names import ENV_ENDPOINT, ENV_TOKEN, progress_path
from loraform_api.run import ProgressMessage, TrainerStatus
from loraform_trainer.runtime.progress import Progress, Send, sender

from .certificates import self_signed

SERVICE = "loraform-operator.loraform-system.svc"
PATH = progress_path("team", "job")
BODY = ProgressMessage(trainer_status=TrainerStatus(last_updated_time="2026-11-24T10:00:00Z")).model_dump_json(
    by_alias=True
)


class Operator:
    """Keeps what arrives at the path of one job. Its certificate is for the Service's name, not for its address."""

    def __init__(self, folder: Path, status: int = 200) -> None:
        self.calls: list[tuple[str, ProgressMessage]] = []
        self._status = status
        folder.mkdir()
        self.certificate = self_signed(folder, SERVICE)
        self.server = TestServer(self._app(), scheme="https")

    @property
    def endpoint(self) -> OperatorEndpoint:
        url = f"https://127.0.0.1:{self.server.port}{PATH}"
        return OperatorEndpoint(url=url, server_name=SERVICE, ca=self.certificate[0].read_text())

    async def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        await self.server.start_server(ssl=context)

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(PATH, self.receive)
        app.router.add_route("*", "/elsewhere", self.receive)
        return app

    async def receive(self, request: web.Request) -> web.Response:
        message = ProgressMessage.model_validate_json(await request.read() or "{}")
        self.calls.append((request.headers["Authorization"], message))
        return web.json_response({}, status=self._status, headers={"Location": "/elsewhere"})


Start = Callable[..., Awaitable[Operator]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    operators: list[Operator] = []

    async def make(status: int = 200) -> Operator:
        operators.append(Operator(tmp_path / f"operator-{len(operators)}", status))
        await operators[-1].start()
        return operators[-1]

    yield make
    for operator in operators:
        await operator.server.close()


class Pod:
    """The mounted files of a run's pod."""

    def __init__(self, folder: Path) -> None:
        self._endpoint, self._token = folder / "endpoint.json", folder / "token"
        self._token.write_text("secret-token\n")

    def mount(self, endpoint: OperatorEndpoint) -> None:
        self._endpoint.write_text(endpoint.model_dump_json(by_alias=True))

    def sender(self) -> Send:
        send = sender({ENV_ENDPOINT: str(self._endpoint), ENV_TOKEN: str(self._token)})
        assert send is not None
        return send

    def run_stage(self) -> None:
        """Run a short stage."""
        with Progress(self.sender(), interval=0) as progress:
            progress.update(0.5, metrics={"loss": "0.25"})


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


async def test_messages_carry_the_token_and_trust_the_mounted_ca(start: Start, pod: Pod) -> None:
    operator = await start()
    pod.mount(operator.endpoint)
    await asyncio.to_thread(pod.run_stage)
    assert {authorization for authorization, _ in operator.calls} == {"Bearer secret-token"}
    last = operator.calls[-1][1].trainer_status
    assert last.progress_percentage == 100


async def test_a_new_address_is_used_for_the_next_message(start: Start, pod: Pod) -> None:
    first, second = await start(), await start()
    pod.mount(first.endpoint)
    send = pod.sender()
    await asyncio.to_thread(send, BODY)
    await first.server.close()
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(send, BODY)
    pod.mount(second.endpoint)
    await asyncio.to_thread(send, BODY)
    assert (len(first.calls), len(second.calls)) == (1, 1)


async def test_another_ca_or_another_name_gets_no_token(start: Start, pod: Pod) -> None:
    operator, other = await start(), await start()
    described = operator.endpoint
    for wrong in ({"ca": other.endpoint.ca}, {"ca": ""}, {"server_name": "loraform-operator.elsewhere.svc"}):
        pod.mount(described.model_copy(update=wrong))
        await asyncio.to_thread(pod.run_stage)
    assert operator.calls == []


async def test_a_stage_goes_on_without_an_endpoint(pod: Pod) -> None:
    await asyncio.to_thread(pod.run_stage)


@pytest.mark.parametrize("status", [301, 307, 500])
async def test_errors_and_redirects_end_the_delivery(start: Start, pod: Pod, status: int) -> None:
    operator = await start(status)
    pod.mount(operator.endpoint)
    with pytest.raises(OSError, match=f"answered {status}"):
        await asyncio.to_thread(pod.sender(), BODY)
    assert len(operator.calls) == 1, "the redirect was not followed"


def test_outside_of_a_run_there_is_no_delivery() -> None:
    assert sender({}) is None
