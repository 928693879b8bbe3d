"""Programs on their way through the stages."""

from __future__ import annotations

from loraform_api.verification import HousePolicy, Program, Stage, VerifyRequest
from loraform_verifier.verify import Verifier


def test_each_stage_is_announced_with_the_programs_that_come_to_it() -> None:
    told: list[tuple[Stage, int]] = []
    programs = [Program(id="good", text="locals {}\n"), Program(id="broken", text="locals {\n")]
    request = VerifyRequest(programs=programs, stages=[Stage.POLICY, Stage.PARSE], policy=HousePolicy())
    Verifier().verify(request, beginning=lambda stage, count: told.append((stage, count)))
    assert told == [(Stage.PARSE, 2), (Stage.POLICY, 1)]
