"""Repairs in stage evaluate: a fake engine, the real verifier, once with terraform too."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from loraform_api.evaluation import EvaluationReport
from loraform_api.verification import Stage, VerifyRequest, VerifyResponse
from loraform_verifier.reflexion import REFUSED
from loraform_verifier.verify import Verifier

from .conftest import Pod, suite_row
from .fake_engine import BROKEN, CUT, PLAIN, POLICED, FakeEngine, run
from .progress_told import Told

HELD_OUT = "held-out-7f3a"
PUBLIC = POLICED.replace("\n\n  tags", '\n  acl    = "public-read"\n\n  tags')
WRONG = POLICED.replace("bucket =", "bukket =")
REGO = """package marked
import rego.v1
default held_out_7f3a := false
held_out_7f3a if {{
    some change in input.resource_changes
    change.change.after.bucket == "{}"
}}
"""


@pytest.fixture
def repairing(trained: Pod, engine: FakeEngine) -> Pod:
    """A run with two rounds and room for a program in the prompt."""
    engine.length = 4096
    trained.config["spec"]["evaluation"] |= {"reflexionRounds": 2, "maxNewTokens": 400}
    return trained


def lines(pod: Pod) -> dict[str, dict[str, Any]]:
    text = pod.paths.evaluation_reflexion.read_text()
    return {row["id"]: row for row in map(json.loads, text.splitlines())}


def rewrite_suite(pod: Pod, change: Mapping[str, Any]) -> None:
    """Keep two of the prepared rows, and change them."""
    rows = [json.loads(line) for line in pod.paths.suite_rows.read_text().splitlines()[:2]]
    pod.paths.suite_rows.write_text("".join(json.dumps(row | change) + "\n" for row in rows))


async def test_repairs_and_draws_are_measured_as_served(
    repairing: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    engine.answers = {
        ("held-0", REFUSED): POLICED.format("held-0"),
        ("held-0", ""): BROKEN.format("held-0"),
        ("held-1", REFUSED): POLICED.format("other"),  # whole, but the resource is gone
        ("held-1", ""): BROKEN.format("held-1"),
        ("held-2", ""): POLICED.format("other"),  # fails Intent alone: nobody who serves it could know
    }
    report = await run(repairing, urls)
    found = report.evaluate.reflexion
    assert [(r.round, r.passed, r.repaired) for r in found.rounds] == [(0, 0, 0), (1, 1, 2), (2, 1, 0)]
    assert found.rounds[0].passed == report.evaluate.arms[-1].counts["All"].served
    assert (found.gain.gained, found.gain.lost, found.best_of_n.passed) == (1, 0, 2)
    assert (found.over_best_of_n.gained, found.over_best_of_n.lost) == (0, 1)
    assert float(found.over_best_of_n.low) < 0 < float(found.over_best_of_n.high)
    rows = lines(repairing)
    assert rows.keys() == {"held-0", "held-1"}
    assert [rows[id_]["best"]["passed"] for id_ in ("held-0", "held-1")] == [True, False]
    assert rows["held-1"]["best"] == rows["held-1"]["first"]
    assert rows["held-1"]["repairs"][0]["text"] == POLICED.format("other")
    assert len(report.encode()) < 3500
    page = repairing.paths.evaluation_page.read_text()
    assert "After 2 repairs, compared with the first answers: 1 row gained and 0 lost" in page
    figures = EvaluationReport.model_validate_json(repairing.paths.evaluation_report.read_text())
    assert figures.reflexion == found


async def test_tokens_of_prompts_and_answers_are_counted_and_matched(
    repairing: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    engine.answers = {("held-0", ""): BROKEN.format("held-0")}  # the repair is no better
    engine.draws = {"held-0": BROKEN.format("held-0")}
    report = await run(repairing, urls)
    found = report.evaluate.reflexion
    asked = engine.repairs()
    drawn = [body for body in engine.requests if body["temperature"]]
    assert [r.tokens for r in found.rounds] == [0, engine.tokens(asked, BROKEN.format("held-0")), 0]
    assert found.best_of_n.tokens == engine.tokens(drawn, BROKEN.format("held-0"))
    assert found.best_of_n.answers == len(drawn) > 1
    assert found.best_of_n.tokens >= found.rounds[1].tokens > found.best_of_n.tokens * (len(drawn) - 1) / len(drawn)
    assert {(body["temperature"], body["seed"]) for body in asked} == {(0.0, 42)}
    assert [(body["temperature"], body["seed"]) for body in drawn] == [(0.8, 43 + n) for n in range(len(drawn))]
    assert all(body["model"] != "base" for body in [*asked, *drawn])


async def test_a_second_round_repairs_what_the_first_left(
    repairing: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    deny = {"name": "no-public", "types": ["aws_s3_bucket"], "argument": "acl", "values": ["public-read"]}
    repairing.config["policy"] = {**repairing.config["policy"], "deny": [deny]}
    engine.answers = {
        ("held-0", "PolicyDenied"): POLICED.format("held-0"),
        ("held-0", REFUSED): PUBLIC.format("held-0"),
        ("held-0", ""): BROKEN.format("held-0"),
    }
    found = (await run(repairing, urls)).evaluate.reflexion
    assert [(r.passed, r.repaired) for r in found.rounds] == [(2, 0), (2, 1), (3, 1)]
    first, second = map(engine.prompt_of, engine.repairs())
    assert re.search(r"Why:\nmain\.tf:\d+ \w+: Missing '}'\.\n\nWrite the whole", first)
    assert f"{REFUSED}\n{PUBLIC.format('held-0').strip()}\n\nWhy:\nmain.tf:" in second
    assert second.startswith("### Instruction:\nMake a bucket, held-0 its name.\n\n### Input:\n")


async def test_what_is_repaired_is_what_would_be_served(
    repairing: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    """Comment and tags are put in before anyone is asked to repair, and the repair prompt has them."""
    deny = {"name": "no-public", "types": ["aws_s3_bucket"], "argument": "acl", "values": ["public-read"]}
    repairing.config["policy"] = {**repairing.config["policy"], "deny": [deny]}
    public = PLAIN.replace("\n}}", '\n  acl = "public-read"\n}}')
    engine.answers = {
        ("held-0", ""): PLAIN.format("held-0"),
        ("held-1", REFUSED): PLAIN.format("held-1"),
        ("held-1", ""): public.format("held-1"),
    }
    report = await run(repairing, urls)
    assert report.evaluate.arms[-1].counts["All"].raw == 1
    found = report.evaluate.reflexion
    assert [(r.passed, r.repaired) for r in found.rounds] == [(2, 0), (3, 1), (3, 0)]
    (prompt,) = map(engine.prompt_of, engine.repairs())
    assert 'created_by = "PiCloud"' in prompt
    assert "PiCloud" in lines(repairing)["held-1"]["best"]["text"]


async def test_the_verifier_is_asked_once_a_round_and_not_for_what_was_held_out(
    repairing: Pod, engine: FakeEngine, verifier: Verifier, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[VerifyRequest] = []

    def recorded(request: VerifyRequest) -> VerifyResponse:
        requests.append(request)
        return Verifier.verify(verifier, request)

    monkeypatch.setattr(verifier, "verify", recorded)
    for i in range(3):
        engine.answers |= {(f"held-{i}", REFUSED): POLICED.format(f"held-{i}")}
        engine.answers |= {(f"held-{i}", ""): BROKEN.format(f"held-{i}")}
    await run(repairing, urls)
    after_arms = requests[3:]  # the toolchain, raw, served
    assert [(len(r.programs), Stage.INTENT in r.stages) for r in after_arms[:2]] == [(3, False), (3, False)]
    assert all(p.asked is None and p.rego is None for r in after_arms[:-1] for p in r.programs)
    assert Stage.INTENT in after_arms[-1].stages
    assert all(program.asked for program in after_arms[-1].programs)
    assert len(after_arms) == 4  # first answers, one round, the drawn ones, and the chosen ones whole


async def test_a_truncated_answer_is_not_repaired_and_a_truncated_repair_is_a_failed_one(
    repairing: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    engine.answers = {("held-0", ""): CUT, ("held-1", REFUSED): CUT, ("held-1", ""): BROKEN.format("held-1")}
    engine.draws = {"held-1": CUT}
    found = (await run(repairing, urls)).evaluate.reflexion
    assert [(r.passed, r.repaired) for r in found.rounds] == [(1, 0), (1, 1), (1, 0)]
    assert (found.rows, found.best_of_n.passed) == (3, 1)
    assert lines(repairing).keys() == {"held-1"}
    assert all(attempt["truncated"] for attempt in lines(repairing)["held-1"]["drawn"])


async def test_a_prompt_without_room_for_a_repair_costs_nothing(
    repairing: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    engine.answers = {("held-0", ""): BROKEN.format("held-0")}
    engine.length = 220
    found = (await run(repairing, urls)).evaluate.reflexion
    assert (found.rounds[1].repaired, found.rounds[1].tokens, found.best_of_n.answers) == (1, 0, 0)
    assert engine.repairs() == []


async def test_without_rounds_nothing_is_repaired(trained: Pod, engine: FakeEngine, urls: tuple[str, str]) -> None:
    engine.answers = {("held-0", ""): BROKEN.format("held-0")}
    assert (await run(trained, urls)).evaluate.reflexion is None
    assert (engine.repairs(), trained.paths.evaluation_reflexion.exists()) == ([], False)


async def test_progress_never_goes_back(repairing: Pod, engine: FakeEngine, urls: tuple[str, str]) -> None:
    engine.answers = {("held-0", REFUSED): POLICED.format("held-0"), ("held-0", ""): BROKEN.format("held-0")}
    progress = Told()
    await run(repairing, urls, progress)
    assert progress.shares == sorted(progress.shares)
    assert progress.shares[-1] == pytest.approx(1)
    assert len({share for share in progress.shares if 0.7 < share < 1}) > 3


@pytest.mark.slow
class TestWithTerraform:
    @pytest.fixture
    def verifier(self, terraform_verifier: Verifier) -> Verifier:
        return terraform_verifier

    async def test_what_was_held_out_is_shown_to_nobody(
        self, repairing: Pod, engine: FakeEngine, urls: tuple[str, str]
    ) -> None:
        """Names asked for and Rego decide at the end, and no prompt has a word of them."""
        rewrite_suite(
            repairing,
            {
                "stages": ["Parse", "Validate", "Plan", "Policy", "Intent"],
                "asked": {**suite_row("x")["asked"], "names": [HELD_OUT], "values": []},
                "rego": REGO.format("held-0"),
            },
        )
        engine.answers = {
            ("held-0", REFUSED): POLICED.format("held-0"),
            ("held-0", ""): WRONG.format("held-0"),
            ("held-1", REFUSED): POLICED.format("held-1") + f'\nlocals {{\n  a = "{HELD_OUT}"\n}}\n',
            ("held-1", ""): WRONG.format("held-1"),
        }
        engine.draws = {"held-0": CUT, "held-1": CUT}  # nothing to plan
        found = (await run(repairing, urls)).evaluate.reflexion
        assert [(r.passed, r.repaired) for r in found.rounds] == [(0, 0), (0, 2), (0, 0)]
        prompts = [engine.prompt_of(body) for body in engine.requests]
        assert any("main.tf:3 UnsupportedArgument: " in prompt and "bucket" in prompt for prompt in prompts)
        said = repairing.paths.evaluation_rows.read_text()
        assert HELD_OUT in said  # it could have been told: Intent's findings name it
        assert not [prompt for prompt in prompts if HELD_OUT in prompt or "held_out_7f3a" in prompt]
