"""Programs on their way through the stages."""

from __future__ import annotations

import pytest

from loraform_api.verification import HousePolicy, Program, Stage, VerifyRequest
from loraform_verifier.verify import RequestError, Verifier


def test_each_stage_is_announced_with_the_programs_that_come_to_it() -> None:
    told: list[tuple[Stage, int]] = []
    programs = [Program(id="good", text="locals {}\n"), Program(id="broken", text="locals {\n")]
    request = VerifyRequest(programs=programs, stages=[Stage.POLICY, Stage.PARSE], policy=HousePolicy())
    Verifier().verify(request, beginning=lambda stage, count: told.append((stage, count)))
    assert told == [(Stage.PARSE, 2), (Stage.POLICY, 1)]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (VerifyRequest(programs=[], stages=[Stage.POLICY]), "policy: the Policy stage needs a policy or packs"),
        (VerifyRequest(programs=[], stages=[Stage.PARSE], packs=["package x"]), "packs: the Policy stage asks them"),
        (VerifyRequest(programs=[], stages=[Stage.PARSE], rewrite=True), "policy: `rewrite` needs a policy"),
        (VerifyRequest(programs=[], stages=[Stage.POLICY], packs=["package x"]), "stages: Policy with `packs` reads"),
    ],
)
def test_rules_that_nothing_would_ask_are_refused(request_: VerifyRequest, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Verifier().verify(request_)
