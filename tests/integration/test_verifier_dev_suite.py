"""The verifier against 122 human-written programs of IaC-Eval, where the development suite lies beside the checkout.

The rows are a benchmark under CC BY 4.0 and not part of this repository.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loraform_api.verification import HousePolicy, Program, Stage, VerifyRequest, VerifyResponse
from loraform_verifier.toolchain import ToolchainError, discover
from loraform_verifier.verify import Verifier

SUITE = Path(__file__).resolve().parents[3] / "shared/data/iac-eval-dev.jsonl"
POLICY = HousePolicy(comment="# This resource is generated using PiCloud tool", tags={"created_by": "PiCloud"})
STAGES = [Stage.PARSE, Stage.VALIDATE, Stage.POLICY]

if not SUITE.exists():
    pytest.skip(f"the development suite is not here: {SUITE}", allow_module_level=True)

ROWS = [json.loads(line) for line in SUITE.read_text().splitlines()]


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    try:
        return Verifier(discover())
    except ToolchainError as error:
        pytest.skip(str(error))


def judged(verifier: Verifier, column: str, *, rewrite: bool = False) -> VerifyResponse:
    programs = [Program(id=row["id"], text=row[column]) for row in ROWS]
    answer = verifier.verify(VerifyRequest(programs=programs, stages=STAGES, policy=POLICY, rewrite=rewrite))
    print(f"{column}{' rewritten' if rewrite else ''}: {len(programs)} programs in {answer.seconds:.1f} s")
    return answer


def failing(answer: VerifyResponse, stage: Stage) -> list[str]:
    return [verdict.id for verdict in answer.verdicts if not verdict.stage_passed(stage)]


def test_references_validate_and_none_keeps_the_policy(verifier: Verifier) -> None:
    answer = judged(verifier, "reference")
    assert failing(answer, Stage.VALIDATE) == []
    assert len(failing(answer, Stage.POLICY)) == len(ROWS)


def test_responses_pass_every_stage(verifier: Verifier) -> None:
    assert [v.id for v in judged(verifier, "response").verdicts if not v.passed] == []


def test_rewritten_references_pass_every_stage(verifier: Verifier) -> None:
    assert [v.id for v in judged(verifier, "reference", rewrite=True).verdicts if not v.passed] == []
