"""Rows of the demo's suite, asked at the gateway: the engine gets what evaluation sent it. The engine is a stub."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loraform_api.finetunejob import SuiteSpec
from loraform_api.finetunejob_status import ArmName
from loraform_api.heartbeat import Route, RouteAdapter, adapter_name
from loraform_demo.corpus import suite_rows as corpus_rows
from loraform_demo.make_data import SEED, SUITE_ROWS, suite_json
from loraform_engine.prompting import load_prompter
from loraform_gateway.answering import Answerer
from loraform_gateway.metrics import Metrics
from loraform_gateway.openai import parse_chat
from loraform_trainer.evaluate.arms import Arm, EvaluationRow
from loraform_trainer.evaluate.generation import AnswerGenerator
from loraform_trainer.prepare.dataset.suites import suite_rows

BASE = Path(__file__).resolve().parents[2] / "demo" / "base-model"
CONTEXT_LENGTH, MAX_NEW_TOKENS = 512, 448
DIGEST = "a" * 64
SENT = ("model", "prompt", "max_tokens", "temperature", "stop_token_ids")


@dataclass
class StubEngine:
    """Keeps what it is sent."""

    sent: list[dict[str, Any]] = field(default_factory=list)

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(body)
        return {"choices": [{"text": "", "finish_reason": "stop"}], "usage": {"completion_tokens": 0}}

    async def version(self) -> str:
        return "0.32.0"

    async def max_length(self) -> int:
        return CONTEXT_LENGTH


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[EvaluationRow]:
    """The demo's suite, as stage prepare gives it to stage evaluate."""
    path = tmp_path_factory.mktemp("suite") / "suite.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in suite_json(corpus_rows(SUITE_ROWS, SEED))))
    spec = SuiteSpec.model_validate({"name": "held-out", "stages": ["Validate"]})
    return [EvaluationRow.from_json(row.wire()) for row in suite_rows([(spec, path)])]


def evaluated(rows: list[EvaluationRow], folder: Path) -> list[dict[str, Any]]:
    """What stage evaluate sends for the greedy answers of the candidate."""
    spec = SimpleNamespace(evaluation=SimpleNamespace(max_new_tokens=MAX_NEW_TOKENS), training=SimpleNamespace(seed=1))
    paths = SimpleNamespace(base=BASE, evaluation_answers=folder / "answers.jsonl")
    context: Any = SimpleNamespace(paths=paths, config=SimpleNamespace(spec=spec))
    arm, engine = Arm(ArmName.CANDIDATE, adapter_name(DIGEST), DIGEST), StubEngine()

    async def generate() -> None:
        generator = await AnswerGenerator.of(context, engine)  # type: ignore[arg-type]  # a stub
        for row in rows:
            await generator.generate(arm, arm.instruction(row), row.input, 0)

    asyncio.run(generate())
    return engine.sent


def asked(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the gateway sends for request bodies."""
    adapter = RouteAdapter(
        version=1,
        digest=DIGEST,
        path="/mnt/store/a",
        template_hash=load_prompter(BASE).template_hash,
        max_new_tokens=MAX_NEW_TOKENS,
        created=1_767_225_600,
    )
    route = Route(revision="r1", model="picloud", base_path=str(BASE), live=DIGEST, adapters=[adapter])

    async def prepare() -> list[dict[str, Any]]:
        answerer = Answerer(StubEngine(), None, Metrics())  # type: ignore[arg-type]  # stubs
        requests = [parse_chat(json.dumps({"model": "picloud", **body}).encode()) for body in bodies]
        return [dict((await answerer.prepare(request, route)).body) for request in requests]

    return asyncio.run(prepare())


def by_field(row: EvaluationRow) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": row.instruction}], "loraform": {"input": row.input}}


def by_fence(row: EvaluationRow) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{row.instruction}\n\n```\n{row.input}\n```"}]}


def as_a_message(row: EvaluationRow) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": row.instruction}]}


def sent(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: request[name] for name in SENT} for request in requests]


@pytest.mark.parametrize("body_of", [by_field, by_fence])
def test_rows_with_an_input_are_asked_as_they_were_evaluated(
    rows: list[EvaluationRow], body_of: Any, tmp_path: Path
) -> None:
    having = [row for row in rows if row.input]
    assert len(having) == 40
    assert sent(asked([body_of(row) for row in having])) == sent(evaluated(having, tmp_path))


def test_rows_without_an_input_are_asked_as_they_were_evaluated(rows: list[EvaluationRow], tmp_path: Path) -> None:
    plain = [row for row in rows if not row.input]
    assert len(plain) == 210
    assert sent(asked([as_a_message(row) for row in plain])) == sent(evaluated(plain, tmp_path))
