"""The suite against the real service, run by a user without rights: it gives the same verdicts and goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from loraform_api.verification import VerifyRequest
from loraform_verifier.http.blocking import verify
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.toolchain import Terraform

from ..listening import Listeners
from .attacks import ALL, BOMBS, Attack, Must
from .conftest import Planted, plant
from .test_escape_programs import GOOD, STAGES, WRONG, armed, outcome

NOBODY = 65534
START_SECONDS = 60
ANSWER_SECONDS = 300
MIB = 1024 * 1024
QUICK_BOMBS = {"wide format"}
"""It ends for want of memory, long before the service's own deadlines; the others burn those."""


@dataclass(slots=True)
class Service:
    """A running verifier and the secret planted in its environment and its home."""

    process: subprocess.Popen[bytes]
    url: str
    planted: Planted
    log: Path

    def healthy(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=10) as answer:
            return bool(json.loads(answer.read())["status"] == "ok")
        return False

    def refusal(self, body: bytes) -> tuple[int, str]:
        """Post a body and return the status and code of the refusal."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{self.url}/v1/verify", data=body, timeout=60)
        return refused.value.code, json.loads(refused.value.read())["error"]["code"]


def interpreter(uid: int) -> str:
    """Return a Python of this version that `uid` may start; the venv's own may lie in a home of somebody else."""
    for candidate in (
        sys.executable,
        shutil.which(f"python3.{sys.version_info.minor}", path="/usr/local/bin:/usr/bin"),
    ):
        if (
            candidate
            and subprocess.run(["/bin/sh", "-c", f"exec {candidate} -c 0"], user=uid, check=False).returncode == 0
        ):
            return candidate
    pytest.skip(f"no Python that user {uid} may start")


@pytest.fixture(scope="module")
def service(terraform: Terraform) -> Iterator[Service]:
    """The service as its image starts it; by user 65534 where the tests may choose."""
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    python = interpreter(uid)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with isolation.private_folder() as home:
        planted = plant(home)
        work = home / "tmp"
        work.mkdir()
        for path in (home, work, *home.rglob("*")):
            os.chown(path, uid, uid)
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(p for p in (*site.getsitepackages(), *sys.path) if p and Path(p).is_dir()),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "TMPDIR": str(work),
            "AWS_SECRET_ACCESS_KEY": planted.mark,
            "TF_VAR_secret": planted.mark,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"),
        }
        mirror = terraform.providers[0].folder.parents[4]
        command = [python, "-m", "loraform_verifier", "serve", "--port", str(port)]
        command += ["--terraform", str(terraform.binary), "--mirror", str(mirror)]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd="/", env=environment, user=uid, group=uid, stdout=log, stderr=log)
        started = Service(process, f"http://127.0.0.1:{port}", planted, home / "log")
        try:
            wait_until_healthy(started)
            yield started
        finally:
            process.kill()
            process.wait()


def wait_until_healthy(service: Service) -> None:
    until = time.monotonic() + START_SECONDS
    while not service.healthy():
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(0.05)  # the pause between two looks; it ends early when the service does
            pytest.fail(service.log.read_text())
        assert time.monotonic() < until, service.log.read_text()


def judged(service: Service, listeners: Listeners, attacks: list[Attack]) -> None:
    """Send attacks between a good and a wrong program; check every verdict, secrets, and that the service goes on."""
    programs = [armed(a, service.planted, listeners).model_copy(update={"id": a.name}) for a in attacks]
    request = VerifyRequest(programs=[GOOD, *programs, WRONG], stages=STAGES)
    answer = verify(service.url, request, seconds=ANSWER_SECONDS)
    good, *hostile, wrong = answer.verdicts
    assert {v.id: outcome(v) for v in hostile} == {a.name: a.must for a in attacks}
    assert (good.passed, outcome(wrong)) == (True, Must.REFUSED)
    assert service.planted.mark not in answer.model_dump_json()
    assert service.healthy()
    (again,) = verify(service.url, VerifyRequest(programs=[GOOD], stages=STAGES), seconds=ANSWER_SECONDS).verdicts
    assert again.passed


def test_all_that_is_not_a_bomb_in_one_request(service: Service, listeners: Listeners) -> None:
    judged(service, listeners, [attack for attack in ALL if attack not in BOMBS])


@pytest.mark.parametrize("attack", [a for a in BOMBS if a.name in QUICK_BOMBS], ids=lambda attack: attack.name)
def test_bombs_under_the_deadlines_of_the_service(service: Service, listeners: Listeners, attack: Attack) -> None:
    judged(service, listeners, [attack])


def test_what_is_no_request_is_refused(service: Service) -> None:
    half = b'{"programs": [{"id": "x", "text": "\\ud800"}]}'
    long = json.dumps({"programs": [{"id": "x", "text": "#" * 10_000_000}]}).encode()
    assert service.refusal(half) == (400, "InvalidRequest")
    assert service.refusal(long) == (400, "InvalidRequest")
    assert service.refusal(b"[" * 33 * MIB) == (413, "TooLarge")
    assert service.refusal(b'{"programs": [{"id": "x", "files": {"../x.tf": ""}}]}') == (400, "InvalidRequest")
    assert service.refusal(b"\0\xff\xfe") == (400, "InvalidRequest")
    assert service.healthy()


def test_it_ends_without_a_trace_of_the_secret_or_of_the_programs(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(60) == 0
    text = service.log.read_text()
    assert service.planted.mark not in text
    assert "Traceback" not in text
    assert list((service.planted.home / "tmp").iterdir()) == []
