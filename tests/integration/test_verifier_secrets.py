"""A literal secret in valid Terraform: what the gateway says of the answer, by the real terraform and provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from loraform_api.verification import HousePolicy, Stage, VerifyRequest, VerifyResponse
from loraform_gateway.openai import Verdict
from loraform_gateway.verifying import VerifiedAnswer, verify_answer
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

QUEUE = 'resource "aws_sqs_queue" "q" {\n  name = "q"\n}\n'
KEY = "notareal" + "keynotarealkeynotarealkey0000000"
LITERAL_KEYS = f"""provider "aws" {{
  region     = "eu-west-1"
  access_key = "AKIAEXAMPLEEXAMPLE00"
  secret_key = "{KEY}"
}}
{QUEUE}"""
POLICY = HousePolicy(tags={"by": "us"}, comment="# ours")


@pytest.fixture(scope="module")
def verifier(terraform: Terraform) -> Iterator[Verifier]:
    with ProviderServers(terraform) as keeper:
        yield Verifier(terraform, servers=keeper)


async def answered(verifier: Verifier, policy: HousePolicy | None, prompt: str) -> VerifiedAnswer:
    async def verify(request: VerifyRequest) -> VerifyResponse:
        return await asyncio.to_thread(verifier.verify, request)

    return await verify_answer(verify, LITERAL_KEYS, policy, prompt)


@pytest.mark.parametrize("policy", [None, POLICY], ids=["no policy", "policy"])
async def test_an_answer_with_literal_keys_is_not_verified(verifier: Verifier, policy: HousePolicy | None) -> None:
    answer = await answered(verifier, policy, "A queue, with the credentials in the provider block.")
    assert (answer.verdict, answer.raw_passed) == (Verdict.FAILED, False)
    assert [(r.stage, r.passed) for r in answer.stages] == [
        (Stage.PARSE, True),
        (Stage.VALIDATE, True),
        (Stage.POLICY, False),
    ]
    (finding,) = answer.stages[-1].diagnostics
    assert (finding.code, finding.line) == ("LiteralSecret", 4)
    assert not any(KEY in result.model_dump_json() for result in answer.stages)


@pytest.mark.parametrize("policy", [None, POLICY], ids=["no policy", "policy"])
async def test_keys_that_the_caller_gave_are_served(verifier: Verifier, policy: HousePolicy | None) -> None:
    answer = await answered(verifier, policy, f"A queue. The provider's secret key is {KEY}.")
    assert answer.verdict is Verdict.PASSED
