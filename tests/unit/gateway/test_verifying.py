"""Verdicts of answers, by the real verifier with a validation that accepts all."""

from __future__ import annotations

import pytest

from loraform_api.verification import HousePolicy, VerifyRequest, VerifyResponse
from loraform_gateway.openai import Verdict
from loraform_gateway.verifying import verify_answer
from loraform_verifier.hcl.normalise import Normalised
from loraform_verifier.terraform.validate import ValidateOutcome, Validator
from loraform_verifier.verify import Verifier

POLICY = HousePolicy(comment="# house", tags={"created_by": "PiCloud"})


class AcceptingValidator(Validator):
    """Accepts every program, without Terraform."""

    def __init__(self) -> None:
        pass

    def validate(self, programs: list[Normalised]) -> list[ValidateOutcome]:
        return [ValidateOutcome() for _ in programs]


async def verify(request: VerifyRequest) -> VerifyResponse:
    return Verifier(validator=AcceptingValidator()).verify(request)


@pytest.mark.parametrize("policy", [None, POLICY], ids=["no policy", "policy"])
@pytest.mark.parametrize("text", ["", "  \r\n\n", "\ufeff", "# hello\n", "/* a\n   b */ // c"])
async def test_an_answer_without_any_block_is_empty(text: str, policy: HousePolicy | None) -> None:
    answer = await verify_answer(verify, text, policy, "")
    assert (answer.verdict, answer.raw_passed, answer.rewritten, answer.text) == (Verdict.EMPTY, False, False, text)
    assert [[finding.code for finding in stage.diagnostics] for stage in answer.served.stages] == [["Empty"]]


@pytest.mark.parametrize("text", ['variable "a" {\n}\n', "terraform {\n}\n", "locals {}\n", "# a\n\nlocals {\n}\n"])
async def test_an_answer_of_any_block_is_judged(text: str) -> None:
    assert (await verify_answer(verify, text, POLICY, "")).verdict is Verdict.PASSED
