"""The verifier as a library: programs in, verdicts out, stage by stage, the cheapest first.

A program meets the asked stages in the order of `Stage` and stops at the first that it does not pass. All programs
that come to Validate go through it together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from loraform_api.verification import (
    Diagnostic,
    HousePolicy,
    Program,
    ProgramVerdict,
    Stage,
    StageResult,
    Toolchain,
    VerifyRequest,
    VerifyResponse,
)
from loraform_verifier.deny import denials
from loraform_verifier.intent import missing
from loraform_verifier.normalise import normalise
from loraform_verifier.parse import Document, parse
from loraform_verifier.policy import judge
from loraform_verifier.rewrite import rewrite
from loraform_verifier.toolchain import Terraform
from loraform_verifier.validate import Validator

NO_TERRAFORM = Toolchain(terraform="none")


class RequestError(ValueError):
    """The request asks for something that cannot be done; the message names the field and what to change."""


@dataclass(slots=True)
class _Row:
    """One program on its way through the stages."""

    program: Program
    document: Document
    rewritten: str | None
    results: list[StageResult] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return all(result.passed for result in self.results)

    def verdict(self) -> ProgramVerdict:
        return ProgramVerdict(id=self.program.id, passed=self.open, stages=self.results, rewritten=self.rewritten)


class Verifier:
    """Verifies programs. Without a toolchain every stage but Validate works."""

    def __init__(self, terraform: Terraform | None = None, validator: Validator | None = None) -> None:
        """`validator` is made from `terraform` unless given."""
        self.toolchain = terraform.words() if terraform else NO_TERRAFORM
        self._validator = validator or (Validator(terraform) if terraform else None)

    def verify(self, request: VerifyRequest) -> VerifyResponse:
        """Run the asked stages. Raises RequestError for a contradictory request, IsolationError without a sandbox."""
        started = time.monotonic()
        self._check(request)
        rows = [_row(program, request) for program in request.programs]
        for stage in (stage for stage in Stage if stage in request.stages):
            waiting = [row for row in rows if row.open]
            for row, result in zip(waiting, self._stage(stage, waiting, request), strict=True):
                row.results.append(result)
        seconds = round(time.monotonic() - started, 3)
        return VerifyResponse(verdicts=[row.verdict() for row in rows], seconds=seconds, toolchain=self.toolchain)

    def _check(self, request: VerifyRequest) -> None:
        if Stage.VALIDATE in request.stages and self._validator is None:
            raise RequestError(
                "stages: Validate needs a terraform binary and a provider mirror; give both or leave it out"
            )
        if request.policy is None and (request.rewrite or Stage.POLICY in request.stages):
            raise RequestError("policy: the Policy stage and `rewrite` need a policy; give one or leave them out")

    def _stage(self, stage: Stage, rows: Sequence[_Row], request: VerifyRequest) -> list[StageResult]:
        match stage:
            case Stage.PARSE:
                return [_result(stage, row.document.problems) for row in rows]
            case Stage.VALIDATE:
                return self._validate(rows)
            case Stage.POLICY:
                return [_policy(row.document, request.policy or HousePolicy()) for row in rows]
            case Stage.INTENT:
                return [_intent(row) for row in rows]

    def _validate(self, rows: Sequence[_Row]) -> list[StageResult]:
        results = [_refused(row.document) for row in rows]
        allowed = [index for index, result in enumerate(results) if result is None]
        if allowed and self._validator is not None:
            outcomes = self._validator.validate([normalise(rows[index].document) for index in allowed])
            for index, outcome in zip(allowed, outcomes, strict=True):
                results[index] = _result(Stage.VALIDATE, outcome.errors, outcome.undecided)
        return [result for result in results if result is not None]


def _row(program: Program, request: VerifyRequest) -> _Row:
    document, rewritten = parse(program.text), None
    if request.rewrite and request.policy is not None and not document.problems:
        rewritten = rewrite(document, request.policy)
        document = parse(rewritten)
    return _Row(program, document, rewritten)


def _refused(document: Document) -> StageResult | None:
    """Return the result of a program that must not reach terraform, None for one that may."""
    if document.problems:  # Parse was not asked for
        return _result(Stage.VALIDATE, document.problems)
    reasons = denials(document)
    if not reasons:
        return None
    return StageResult(stage=Stage.VALIDATE, passed=False, inconclusive=True, diagnostics=reasons)


def _policy(document: Document, policy: HousePolicy) -> StageResult:
    findings = judge(document, policy)
    found = [*document.problems, *findings.broken, *findings.undecided]
    broken = bool(document.problems or findings.broken)
    return StageResult(stage=Stage.POLICY, passed=not found, inconclusive=bool(found) and not broken, diagnostics=found)


def _intent(row: _Row) -> StageResult:
    found = missing(row.document, row.program.asked) if row.program.asked else []
    return _result(Stage.INTENT, [*row.document.problems, *found])


def _result(stage: Stage, errors: Sequence[Diagnostic], undecided: Diagnostic | None = None) -> StageResult:
    diagnostics = [*errors, *([undecided] if undecided else [])]
    return StageResult(
        stage=stage, passed=not diagnostics, inconclusive=undecided is not None and not errors, diagnostics=diagnostics
    )
