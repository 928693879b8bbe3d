"""Verifies one answer, rewritten to the house policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loraform_api.verification import (
    EMPTY,
    SERVED,
    WITHOUT_PLAN,
    Diagnostic,
    HousePolicy,
    Program,
    ProgramVerdict,
    Stage,
    StageResult,
    VerifyRequest,
    VerifyResponse,
)
from loraform_gateway.openai import Verdict

Verify = Callable[[VerifyRequest], Awaitable[VerifyResponse]]
VERIFY_SECONDS = 120.0
"""Longest verification of one answer, including the verifier's queue."""
UNAVAILABLE = "VerificationUnavailable"
"""Code of the finding on an answer that could not be verified; the text is as the model wrote it."""


@dataclass(frozen=True)
class VerifiedAnswer:
    text: str
    """The text to serve."""
    verdict: Verdict
    raw_passed: bool
    rewritten: bool
    stages: list[StageResult]
    """Results of the stages on the served text."""


async def verify_answer(
    verify: Verify, text: str, policy: HousePolicy | None, prompt: str, caller: str = ""
) -> VerifiedAnswer:
    """Rewrite `text` to the policy and verify the result, and the text as it was written if the rewrite changed it.

    A literal of the caller's `prompt` is no secret. Raises what `verify` raises.
    """
    rewrites = policy is not None
    request = VerifyRequest(
        programs=[Program(id="answer", text=text, prompt=prompt)],
        stages=list(SERVED if policy is not None and policy.packs else WITHOUT_PLAN),
        policy=policy,
        rewrite=rewrites,
        judge_raw=rewrites,
        within=VERIFY_SECONDS,
        caller=caller,
    )
    (served,) = (await verify(request)).verdicts
    rewritten = served.rewritten is not None and served.rewritten != text
    raw_passed = bool(served.raw_passed) if rewrites else served.passed
    return VerifiedAnswer(served.rewritten or text, _word(served), raw_passed, rewritten, served.stages)


def unverified_answer(text: str, reason: str) -> VerifiedAnswer:
    """Return the answer for a text that could not be verified, with the reason in words."""
    hint = "Ask again, or check the text yourself."
    finding = Diagnostic(code=UNAVAILABLE, message=f"The text was not verified: {reason}.", hint=hint)
    stage = StageResult(stage=Stage.PARSE, passed=False, inconclusive=True, diagnostics=[finding])
    return VerifiedAnswer(text, Verdict.INCONCLUSIVE, raw_passed=False, rewritten=False, stages=[stage])


def _word(verdict: ProgramVerdict) -> Verdict:
    if verdict.passed:
        return Verdict.PASSED
    if any(finding.code == EMPTY for stage in verdict.stages for finding in stage.diagnostics):
        return Verdict.EMPTY
    return Verdict.INCONCLUSIVE if any(s.inconclusive for s in verdict.stages) else Verdict.FAILED
