"""Checks of single rows, and the house policy in responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from loraform_api.dataset import DatasetChecks
from loraform_api.verification import (
    Diagnostic,
    HousePolicy,
    ProgramVerdict,
    Stage,
    StageResult,
    Toolchain,
    VerifyRequest,
    VerifyResponse,
)
from loraform_trainer.prepare.dataset.drop_counts import DropCounts
from loraform_trainer.prepare.dataset.row_checks import CheckedRow, RowChecks
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.validity import ValidityCheck

GOOD = 'resource "aws_s3_bucket" "a" {\n  bucket = "a"\n}\n'
POLICY = HousePolicy.model_validate({"comment": "# ours", "tags": {"by": "us"}})
DENYING = HousePolicy.model_validate(
    {"requiredTags": ["owner"], "deny": [{"name": "no-keys", "types": ["aws_iam_access_key"]}]}
)


class FakeVerifier:
    """Stands for a verifier: programs with `invalid` fail, with `unknown` or `blocked` they are inconclusive."""

    def __init__(self) -> None:
        self.programs: list[str] = []

    def __call__(self, request: VerifyRequest) -> VerifyResponse:
        self.programs += [program.text for program in request.programs]
        verdicts = [self._verdict(program.id, program.text) for program in request.programs]
        return VerifyResponse(verdicts=verdicts, seconds=0, toolchain=Toolchain(terraform="fake"))

    def _verdict(self, name: str, text: str) -> ProgramVerdict:
        codes = {"invalid": "UnsupportedArgument", "unknown": "ProviderMissing", "blocked": "BlockedByPolicy"}
        code = next((codes[word] for word in codes if word in text), None)
        diagnostics = [] if code is None else [Diagnostic(code=code, message="because", line=2)]
        result = StageResult(
            stage=Stage.VALIDATE,
            passed=code is None,
            inconclusive="invalid" not in text and bool(code),
            diagnostics=diagnostics,
        )
        return ProgramVerdict(id=name, passed=code is None, stages=[result])


def run(
    responses: Sequence[str], house: HousePolicy | None = None, **checks: Any
) -> tuple[list[CheckedRow], DropCounts]:
    drops = DropCounts()
    row_checks = RowChecks(DatasetChecks.model_validate(checks), house, ValidityCheck(FakeVerifier()))
    return row_checks.passing_rows([TrainingRow(f"a:{i}", "Do.", "", r) for i, r in enumerate(responses)], drops), drops


@pytest.mark.parametrize(
    ("response", "check", "example"),
    [
        (GOOD.replace('"', "\u201c"), "Typography", "left double quotation mark"),
        (GOOD[:-2], "SyntaxError", "line 1: Missing '}'"),
        ("# nothing", "SyntaxError", "the response has no block"),
        (
            GOOD.replace('bucket = "a"', 'password = "abc"'),
            "Secrets",
            "a literal value of password in the response, line 2",
        ),
        (GOOD.replace('= "a"', '= "invalid"'), "Invalid", "UnsupportedArgument, line 2: because"),
        (GOOD.replace('= "a"', '= "blocked"'), "Invalid", "BlockedByPolicy, line 2: because"),
    ],
)
def test_a_row_counts_for_the_first_check_that_drops_it(response: str, check: str, example: str) -> None:
    passed, drops = run([GOOD, response])
    assert [p.row.id for p in passed] == ["a:0"]
    assert drops.dropped == {check: 1}
    assert example in drops.examples[check][0]


@pytest.mark.parametrize(
    ("response", "off", "then"),
    [
        (GOOD.replace('"', "\u201c"), "typography", {"SyntaxError": 1}),
        (GOOD[:-2], "syntax", {}),
        ("# nothing", "syntax", {}),
        (GOOD.replace("bucket =", "password ="), "secrets", {}),
        (GOOD.replace('= "a"', '= "invalid"'), "validity", {}),
    ],
)
def test_a_check_that_is_off_drops_nothing(response: str, off: str, then: dict[str, int]) -> None:
    changes = {off: "Off"}
    if response == "# nothing" or off == "syntax":
        changes["validity"] = "Off"
    assert run([response], **changes)[1].dropped == then


def test_an_undecided_row_is_kept_with_the_reason() -> None:
    (passed,), drops = run([GOOD.replace('= "a"', '= "unknown"')])
    assert passed.undecided == "ProviderMissing, line 2: because"
    assert drops.dropped == {}


def test_equal_programs_are_validated_once() -> None:
    verifier = FakeVerifier()
    validity = ValidityCheck(verifier)
    assert validity.findings([GOOD, "invalid", GOOD, "invalid"])[3] == validity.findings(["invalid"])[0]
    assert sorted(verifier.programs) == sorted([GOOD, "invalid"])


def test_rewrite_writes_the_policy_into_responses() -> None:
    (passed,), _ = run([GOOD], POLICY)
    assert passed.row.response.startswith("# ours\nresource")
    assert 'by = "us"' in passed.row.response
    assert b"ours" not in passed.program
    assert b"by" in passed.program
    assert passed.types == ("aws_s3_bucket",)


def test_require_drops_rows_that_violate_the_policy() -> None:
    rewritten = run([GOOD], POLICY)[0][0].row.response
    passed, drops = run([GOOD, rewritten], POLICY, policy="Require")
    assert [p.row.response for p in passed] == [rewritten]
    assert drops.examples["Policy"][0].startswith("a:0: CommentMissing: ")


def test_off_does_not_change_responses() -> None:
    (passed,), _ = run([GOOD], POLICY, policy="Off")
    assert passed.row.response == GOOD


def test_rewrite_drops_violations_that_it_cannot_fix() -> None:
    key = 'resource "aws_iam_access_key" "a" {\n  user = "a"\n}\n'
    owned = GOOD.replace("\n}", '\n  tags = { owner = "me" }\n}')
    passed, drops = run([key, GOOD, owned], DENYING)
    assert [p.row.id for p in passed] == ["a:2"]
    assert [e.split(": ")[1] for e in drops.examples["Policy"]] == ["PolicyDenied", "TagMissing"]
