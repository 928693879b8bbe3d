"""Verdicts of answers by the verifier's library: no stage here needs terraform."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from loraform_api.finetunejob_status import ArmName
from loraform_api.verification import Stage, VerifyRequest, VerifyResponse
from loraform_trainer.evaluate.answer_verifier import AnswerVerifier
from loraform_trainer.evaluate.arms import Arm, EvaluationRow, ScoredAnswer
from loraform_trainer.evaluate.reflexion import ReflexionRun
from loraform_verifier.verify import Verifier

TEXT = 'resource "aws_mq_broker" "a" {\n  password = "hunter2hunter2"\n}\n'
ARM = Arm(ArmName.CANDIDATE, "x")
STAGES = (Stage.PARSE, Stage.POLICY, Stage.INTENT)


class Library:
    """The verifier's library in place of its client."""

    async def verify(self, request: VerifyRequest) -> VerifyResponse:
        return Verifier().verify(request)


def answer(instruction: str, given: str) -> ScoredAnswer:
    return ScoredAnswer(ARM, EvaluationRow("a", "s", instruction, given, None, STAGES), TEXT)


def answer_verifier() -> AnswerVerifier:
    context = SimpleNamespace(config=SimpleNamespace(policy=None))
    return AnswerVerifier(cast("Any", context), cast("Any", Library()))


CASES = [
    ("A broker.", "", False),
    ("A broker with password hunter2hunter2.", "", True),
    ("Add a broker.", 'locals {\n  password = "hunter2hunter2"\n}\n', True),
]


@pytest.mark.parametrize(("instruction", "given", "passed"), CASES)
async def test_an_answers_secret_is_a_finding_unless_its_row_names_it(
    instruction: str, given: str, passed: bool
) -> None:
    (scored,) = await answer_verifier().verify_answers([answer(instruction, given)], lambda _: None)
    assert (scored.passed, scored.passed_served) == (passed, passed)


@pytest.mark.parametrize(("instruction", "given", "passed"), CASES)
async def test_repairs_are_judged_by_what_the_row_names(instruction: str, given: str, passed: bool) -> None:
    async def never(arm: Arm, instruction: str, given: str, sample: int) -> Any:
        raise AssertionError("no repair is asked for in zero rounds")

    (history,) = await ReflexionRun(never, answer_verifier(), 0, lambda _: None).measure([answer(instruction, given)])
    assert [f.code for f in history.best(0).findings] == ([] if passed else ["LiteralSecret"])
