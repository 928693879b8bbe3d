"""Requests to the gateway as golden cases: the prompt that the engine got, and the whole body of the answer.

A case is a folder: `request.json` (path and body); `prompt.txt` and `answer.json` (`answer.txt` for a stream) are the
expected results, with `ID` and 0 for what differs from answer to answer. Engine and verifier are stubs. After an
intended change generate them again, and read the diff: `python -m tests.cases.answers.test_answer_cases`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import tempfile
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from tokenizers import Tokenizer

from loraform_api.heartbeat import Route, RouteAdapter, adapter_name
from loraform_engine.client import Engine
from loraform_engine.prompting import load_prompter
from loraform_gateway.admission import Admission
from loraform_gateway.answering import Answerer
from loraform_gateway.cors import CrossOrigin
from loraform_gateway.front import Front
from loraform_gateway.keys import Authenticator
from loraform_gateway.limits import Limits
from loraform_gateway.metrics import Metrics
from loraform_gateway.route import Operator, RouteFollower

from ...unit.gateway.conftest import POLICY, StubEngine, StubVerifier

HERE = Path(__file__).parent
BASE = HERE.parents[2] / "demo" / "base-model"
CASES = sorted(path.parent.name for path in HERE.glob("*/request.json"))
DIGEST = hashlib.sha256(b"adapter").hexdigest()


def route() -> Route:
    adapter = RouteAdapter(
        version=1,
        digest=DIGEST,
        path="/mnt/store/adapter",
        template_hash=load_prompter(BASE).template_hash,
        max_new_tokens=100,
        created=1_767_225_600,
    )
    return Route(revision="r1", model="picloud", base_path=str(BASE), live=DIGEST, adapters=[adapter], policy=POLICY)


async def answer_of(request: dict[str, object], folder: Path) -> tuple[str, str]:
    """Return the prompt of the engine's only request, and the answer's body, both as text."""
    (folder / "route.json").write_text(route().model_dump_json(by_alias=True))
    engine, verifier, metrics = StubEngine(context=512), StubVerifier(), Metrics()
    engine.loaded[adapter_name(DIGEST)] = "/mnt/store/adapter"
    operator = Operator(folder / "endpoint", folder / "token")
    async with TestServer(engine.application()) as server, aiohttp.ClientSession() as session:
        answerer = Answerer(Engine(session, str(server.make_url(""))), verifier.verify, metrics)
        admission = Admission(Authenticator(None), CrossOrigin([]), Limits(requests=1, tokens=1), metrics)
        front = Front(answerer, metrics, verifier.healthy, admission)
        follower = RouteFollower(folder / "route.json", operator, lambda r: front.heartbeat("pod", r), period=3600)
        async with TestClient(TestServer(front.application(follower))) as client:
            reply = await client.post(str(request["path"]), json=request["body"])
            body = await reply.text()
    (sent,) = engine.requests
    return Tokenizer.from_file(str(BASE / "tokenizer.json")).decode(sent["prompt"]), body


def results(case: str) -> dict[str, str]:
    """Return what a case's files should hold, by name."""
    request = json.loads((HERE / case / "request.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        prompt, body = asyncio.run(answer_of(request, Path(folder)))
    body = re.sub(r'"((?:chat)?cmpl)-\w+"', r'"\1-ID"', re.sub(r'"created": \d+', '"created": 0', body))
    if "data: " in body:
        return {"prompt.txt": prompt, "answer.txt": body.replace(": keep-alive\n\n", "")}
    return {"prompt.txt": prompt, "answer.json": json.dumps(json.loads(body), indent=2) + "\n"}


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_as_recorded(case: str) -> None:
    expected = {path.name: path.read_text() for path in (HERE / case).iterdir() if path.name != "request.json"}
    assert results(case) == expected


if __name__ == "__main__":
    for name in CASES:
        for file, text in results(name).items():
            (HERE / name / file).write_text(text)
