"""Verdicts of answers, by the real verifier with a validation that accepts all."""

from __future__ import annotations

import pytest

from loraform_api.verification import HousePolicy, VerifyRequest, VerifyResponse
from loraform_gateway.openai import Verdict
from loraform_gateway.verifying import VERIFY_SECONDS, verify_answer
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
    assert [[finding.code for finding in stage.diagnostics] for stage in answer.stages] == [["Empty"]]


@pytest.mark.parametrize("text", ['variable "a" {\n}\n', "terraform {\n}\n", "locals {}\n", "# a\n\nlocals {\n}\n"])
async def test_an_answer_of_any_block_is_judged(text: str) -> None:
    assert (await verify_answer(verify, text, POLICY, "")).verdict is Verdict.PASSED


TAGGED = (
    '# house\nresource "aws_vpc" "a" {\n  cidr_block = "10.0.0.0/16"\n  tags = {\n    created_by = "PiCloud"\n  }\n}\n'
)


@pytest.mark.parametrize(
    ("text", "rewritten", "raw_passed"),
    [
        pytest.param(TAGGED, False, True, id="keeps the policy"),
        pytest.param(
            'resource "aws_vpc" "a" {\n  cidr_block = "10.0.0.0/16"\n}\n', True, False, id="breaks the policy"
        ),
        pytest.param(TAGGED.replace("  tags =", "  tags    ="), False, True, id="keeps it in another form"),
        pytest.param('resource "aws_vpc" "a" {\n', False, False, id="does not parse"),
    ],
)
async def test_one_request_judges_the_answer_as_written_and_as_served(
    text: str, rewritten: bool, raw_passed: bool
) -> None:
    requests: list[VerifyRequest] = []

    async def recorded(request: VerifyRequest) -> VerifyResponse:
        requests.append(request)
        return await verify(request)

    answer = await verify_answer(recorded, text, POLICY, "")
    assert (answer.rewritten, answer.raw_passed) == (rewritten, raw_passed)
    assert len(requests) == 1


async def test_an_answer_has_a_deadline_and_its_callers_name() -> None:
    requests: list[VerifyRequest] = []

    async def recorded(request: VerifyRequest) -> VerifyResponse:
        requests.append(request)
        return await verify(request)

    await verify_answer(recorded, TAGGED, POLICY, "", caller="team-a")
    assert [(r.within, r.caller) for r in requests] == [(VERIFY_SECONDS, "team-a")]
