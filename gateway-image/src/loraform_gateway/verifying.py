"""Verifies one answer, rewritten to the house policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loraform_api.verification import (
    EMPTY,
    SERVED,
    WITHOUT_PLAN,
    WITHOUT_TERRAFORM,
    HousePolicy,
    Program,
    ProgramVerdict,
    Stage,
    VerifyRequest,
    VerifyResponse,
)
from loraform_gateway.openai import Verdict

Verify = Callable[[VerifyRequest], Awaitable[VerifyResponse]]


@dataclass(frozen=True)
class VerifiedAnswer:
    text: str
    """The text to serve."""
    verdict: Verdict
    raw_passed: bool
    rewritten: bool
    served: ProgramVerdict


async def verify_answer(verify: Verify, text: str, policy: HousePolicy | None, prompt: str) -> VerifiedAnswer:
    """Rewrite `text` to the policy and verify the result; also verify the raw text if the rewrite changed it.

    A literal of the caller's `prompt` is no secret.
    """
    program, stages = Program(id="answer", text=text, prompt=prompt), _stages(policy)
    served = await _verdict(verify, program, stages, policy, rewrite=policy is not None)
    rewritten = served.rewritten is not None and served.rewritten != text
    if not rewritten:
        raw_passed = served.passed
    else:
        # A text that needed the rewrite mostly fails Policy: run Terraform again only when it does not.
        raw_passed = (await _verdict(verify, program, WITHOUT_TERRAFORM, policy)).passed and (
            await _verdict(verify, program, stages, policy)
        ).passed
    return VerifiedAnswer(served.rewritten or text, _word(served), raw_passed, rewritten, served)


def _stages(policy: HousePolicy | None) -> tuple[Stage, ...]:
    return SERVED if policy is not None and policy.packs else WITHOUT_PLAN


async def _verdict(
    verify: Verify, program: Program, stages: tuple[Stage, ...], policy: HousePolicy | None, rewrite: bool = False
) -> ProgramVerdict:
    request = VerifyRequest(programs=[program], stages=list(stages), policy=policy, rewrite=rewrite)
    return (await verify(request)).verdicts[0]


def _word(verdict: ProgramVerdict) -> Verdict:
    if verdict.passed:
        return Verdict.PASSED
    if any(finding.code == EMPTY for stage in verdict.stages for finding in stage.diagnostics):
        return Verdict.EMPTY
    return Verdict.INCONCLUSIVE if any(s.inconclusive for s in verdict.stages) else Verdict.FAILED
