"""The checks of a row by itself: which one objects first, and what is taught."""

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
from loraform_trainer.prepare.dataset.checks import Checks, Passed
from loraform_trainer.prepare.dataset.dropped import Ledger
from loraform_trainer.prepare.dataset.validity import Validity
from loraform_trainer.runtime.rows import Row

GOOD = 'resource "aws_s3_bucket" "a" {\n  bucket = "a"\n}\n'
POLICY = HousePolicy.model_validate({"comment": "# ours", "tags": {"by": "us"}})
DENYING = HousePolicy.model_validate(
    {"requiredTags": ["owner"], "deny": [{"name": "no-keys", "types": ["aws_iam_access_key"]}]}
)


class Words:
    """Stands for a verifier: programs with `invalid` fail, with `unknown` or `blocked` they are inconclusive."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, request: VerifyRequest) -> VerifyResponse:
        self.asked += [program.text for program in request.programs]
        verdicts = [self._verdict(program.id, program.text) for program in request.programs]
        return VerifyResponse(verdicts=verdicts, seconds=0, toolchain=Toolchain(terraform="words"))

    def _verdict(self, name: str, text: str) -> ProgramVerdict:
        codes = {"invalid": "UnsupportedArgument", "unknown": "ProviderMissing", "blocked": "BlockedByPolicy"}
        code = next((codes[word] for word in codes if word in text), None)
        found = [] if code is None else [Diagnostic(code=code, message="because", line=2)]
        result = StageResult(
            stage=Stage.VALIDATE,
            passed=code is None,
            inconclusive="invalid" not in text and bool(code),
            diagnostics=found,
        )
        return ProgramVerdict(id=name, passed=code is None, stages=[result])


def run(responses: Sequence[str], house: HousePolicy | None = None, **checks: Any) -> tuple[list[Passed], Ledger]:
    ledger = Ledger()
    chain = Checks(DatasetChecks.model_validate(checks), house, Validity(Words()))
    return chain.passed([Row(f"a:{i}", "Do.", "", r) for i, r in enumerate(responses)], ledger), ledger


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
def test_a_row_counts_for_the_first_check_that_objects(response: str, check: str, example: str) -> None:
    passed, ledger = run([GOOD, response])
    assert [p.row.id for p in passed] == ["a:0"]
    assert ledger.dropped == {check: 1}
    assert example in ledger.examples[check][0]


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
def test_a_check_that_is_off_objects_to_nothing(response: str, off: str, then: dict[str, int]) -> None:
    changes = {off: "Off"}
    if response == "# nothing" or off == "syntax":
        changes["validity"] = "Off"
    assert run([response], **changes)[1].dropped == then


def test_what_cannot_be_judged_is_kept_and_said() -> None:
    (passed,), ledger = run([GOOD.replace('= "a"', '= "unknown"')])
    assert passed.undecided == "ProviderMissing, line 2: because"
    assert ledger.dropped == {}


def test_equal_programs_are_asked_about_once() -> None:
    words = Words()
    validity = Validity(words)
    assert validity.findings([GOOD, "invalid", GOOD, "invalid"])[3] == validity.findings(["invalid"])[0]
    assert sorted(words.asked) == sorted([GOOD, "invalid"])


def test_rewrite_teaches_the_policy() -> None:
    (passed,), _ = run([GOOD], POLICY)
    assert passed.row.response.startswith("# ours\nresource")
    assert 'by = "us"' in passed.row.response
    assert b"ours" not in passed.program
    assert b"by" in passed.program
    assert passed.types == ("aws_s3_bucket",)


def test_require_drops_what_does_not_keep_the_policy() -> None:
    taught = run([GOOD], POLICY)[0][0].row.response
    passed, ledger = run([GOOD, taught], POLICY, policy="Require")
    assert [p.row.response for p in passed] == [taught]
    assert ledger.examples["Policy"][0].startswith("a:0: CommentMissing: ")


def test_off_leaves_answers_alone() -> None:
    (passed,), _ = run([GOOD], POLICY, policy="Off")
    assert passed.row.response == GOOD


def test_what_a_rewrite_cannot_put_right_is_not_taught() -> None:
    key = 'resource "aws_iam_access_key" "a" {\n  user = "a"\n}\n'
    owned = GOOD.replace("\n}", '\n  tags = { owner = "me" }\n}')
    passed, ledger = run([key, GOOD, owned], DENYING)
    assert [p.row.id for p in passed] == ["a:2"]
    assert [e.split(": ")[1] for e in ledger.examples["Policy"]] == ["PolicyDenied", "TagMissing"]
