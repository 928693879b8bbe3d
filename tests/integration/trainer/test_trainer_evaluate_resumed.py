"""Stage evaluate with connections cut at random and its process killed at a third, beside an undisturbed run."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from loraform_api.names import RunStage
from loraform_trainer.evaluate.generation import CONCURRENCY

from .conftest import Pod, suite_row, write_lines
from .fake_engine import BROKEN, FakeEngine, run
from .lossy_proxy import LossyProxy, lossy

ROWS = 16
SAMPLES = 4


def asked(bodies: list[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(body, sort_keys=True) for body in bodies)


def answers(file: Path) -> list[Any]:
    lines = map(json.loads, file.read_text().splitlines())
    return [[line[key] for key in ("id", "arm", "sample", "raw", "served", "passed")] for line in lines]


def start(pod: Pod, engine: str, verifier: str) -> subprocess.Popen[bytes]:
    arguments = [*pod.arguments("evaluate"), f"--engine-url={engine}", f"--verifier-url={verifier}"]
    return subprocess.Popen([sys.executable, "-m", "loraform_trainer", *arguments])


def assert_repeated_only_lost(bodies: list[dict[str, Any]], proxy: LossyProxy) -> None:
    """No request came again but those whose answer was lost on the way."""
    lost = asked([json.loads(body) for body in proxy.answer_lost if body])
    for body, times in asked(bodies).items():
        assert times <= 1 + lost[body]


async def test_a_disturbed_evaluation_goes_on_and_gives_the_same_figures(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str], tmp_path: Path
) -> None:
    more = {
        "suite": "held-out", "stages": ["Parse", "Validate", "Policy", "Intent"], "rego": None,
        "types": ["aws_s3_bucket"], "difficulty": "", "cluster": "",
    }  # fmt: skip
    write_lines(trained.paths.suite_rows, (suite_row(f"held-{i}") | more for i in range(ROWS)))
    trained.config["spec"]["evaluation"] |= {"samplesPerPrompt": SAMPLES, "reflexionRounds": 1, "maxNewTokens": 64}
    engine.answers = {("held-3", "Make"): BROKEN.format("held-3")}
    undisturbed = trained.copied_to(tmp_path / "undisturbed")
    expected = await run(undisturbed, urls)
    all_requests = asked(engine.requests)
    assert len(all_requests) > ROWS * (3 + 2 * SAMPLES), "arms, samples and repairs"

    async with lossy(urls[0]) as (engine_proxy, engine_url), lossy(urls[1]) as (verifier_proxy, verifier_url):
        engine.requests, engine.loaded = [], {}
        process = start(trained, engine_url, verifier_url)
        engine.on_request = lambda count: process.kill() if count == len(all_requests) // 3 else None
        assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
        await engine_proxy.settle(engine_url)
        first, engine.on_request = engine.requests, None
        assert_repeated_only_lost(first, engine_proxy)
        journal = trained.paths.evaluation_answers.read_bytes()
        kept = journal.count(b"\n")
        assert kept >= len(first) - CONCURRENCY - len(engine_proxy.answer_lost)

        trained.paths.evaluation_answers.write_bytes(journal + journal[:100])  # the kill tore a line
        engine.requests, engine.loaded = [], {}  # another pod has another engine
        engine_proxy.answer_lost.clear()
        assert await asyncio.to_thread(start(trained, engine_url, verifier_url).wait, 60) == 0
        second = engine.requests
        assert_repeated_only_lost(second, engine_proxy)

    assert len(asked(second)) == len(all_requests) - kept, "what was kept was not generated again"
    assert len(asked(first).keys() & asked(second).keys()) <= CONCURRENCY, "only what was in flight"
    assert asked(first).keys() | asked(second).keys() == all_requests.keys()
    assert all(count > 0 for count in engine_proxy.cut.values()), engine_proxy.cut
    assert verifier_proxy.cut["pass"] < sum(verifier_proxy.cut.values()), verifier_proxy.cut
    assert trained.workspace_report(RunStage.EVALUATE).evaluate == expected.evaluate
    assert answers(trained.paths.evaluation_rows) == answers(undisturbed.paths.evaluation_rows)
    assert answers(trained.paths.evaluation_samples) == answers(undisturbed.paths.evaluation_samples)
