"""The verifier against 122 human-written programs of IaC-Eval, where the development suite lies beside the checkout.

The rows are a benchmark under CC BY 4.0 and not part of this repository. `make check-suite` shows what is printed here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loraform_api.verification import HousePolicy, Stage, VerifyRequest, VerifyResponse
from loraform_cli.suite import counts, read_suite
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

SUITE = Path(os.environ.get("SUITE") or Path(__file__).resolve().parents[3] / "shared/data/iac-eval-dev.jsonl")
POLICY = HousePolicy(comment="# This resource is generated using PiCloud tool", tags={"created_by": "PiCloud"})
DOES = [Stage.PARSE, Stage.SCHEMA, Stage.VALIDATE, Stage.PLAN, Stage.INTENT]
CONFORMS = [*DOES[:-1], Stage.POLICY, Stage.INTENT]

if not SUITE.exists():
    pytest.skip(f"the development suite is not here: {SUITE}", allow_module_level=True)


@pytest.fixture(scope="module")
def verifier(terraform: Terraform) -> Iterator[Verifier]:
    with ProviderServers(terraform) as keeper:
        yield Verifier(terraform, servers=keeper)


def judged(verifier: Verifier, column: str, stages: list[Stage], *, rewrite: bool = False) -> VerifyResponse:
    programs = read_suite(SUITE, column)
    answer = verifier.verify(VerifyRequest(programs=programs, stages=stages, policy=POLICY, rewrite=rewrite))
    print(f"\n{column}{', rewritten' if rewrite else ''}: {len(programs)} programs in {answer.seconds:.1f} s")
    print("\n".join(f"  {line}" for line in counts(answer.verdicts, stages)))
    return answer


def failing(answer: VerifyResponse) -> dict[str, list[str]]:
    return {v.id: [d.message for r in v.stages for d in r.diagnostics] for v in answer.verdicts if not v.passed}


def test_references_do_what_is_asked(verifier: Verifier) -> None:
    assert failing(judged(verifier, "reference", DOES)) == {}


def test_no_bare_reference_keeps_the_policy(verifier: Verifier) -> None:
    answer = judged(verifier, "reference", [Stage.POLICY])
    assert len(failing(answer)) == len(answer.verdicts)


def test_responses_do_and_conform(verifier: Verifier) -> None:
    assert failing(judged(verifier, "response", CONFORMS)) == {}


def test_rewritten_references_do_and_conform(verifier: Verifier) -> None:
    assert failing(judged(verifier, "reference", CONFORMS, rewrite=True)) == {}
