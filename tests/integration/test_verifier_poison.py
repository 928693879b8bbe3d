"""Programs made to bring the verifier down: whoever shares their request keeps its verdict, and health is told."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from loraform_api.verification import HousePolicy, Program, ProgramVerdict, Stage, VerifyRequest
from loraform_verifier.stages import stages
from loraform_verifier.terraform.batch import DEADLINES, SHARED, Deadlines
from loraform_verifier.terraform.formatting import FormatError
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

STAGES = [Stage.PARSE, Stage.VALIDATE, Stage.PLAN, Stage.POLICY]
GOOD = Program(id="good", text='resource "terraform_data" "ok" {\n  input = 1\n}\n')
WRONG = Program(id="wrong", text='resource "terraform_data" "ok" {\n  inputt = 1\n}\n')
TAKES_AND_GIVES = 'variable "v" {\n}\noutput "o" {\n  value = var.v\n}\n'


@pytest.fixture(scope="module")
def keeper(terraform: Terraform) -> Iterator[ProviderServers]:
    with ProviderServers(terraform) as keeper:
        yield keeper


def nested(depth: int) -> str:
    return f'resource "terraform_data" "x" {{\n  input = jsondecode("{"[" * depth}{"]" * depth}")\n}}\n'


def cycle(name: str) -> Program:
    text = f'module "{name}" {{\n  source = "./m"\n  v      = module.{name}.o\n}}\n'
    return Program(id="poison", text=text, files={"m/main.tf": TAKES_AND_GIVES})


def refused(words: str) -> str:
    """Return a program that says `words`, an expression, when its variable is refused."""
    return (
        f'locals {{\n  said = {words}\n}}\nvariable "v" {{\n  default = "y"\n  validation {{\n'
        '    condition     = var.v == "z"\n    error_message = local.said\n  }\n}\n'
    )


def repeated(piece: str) -> str:
    """Return an expression for 150,000 characters of a piece."""
    return f'join("", [for x in range(1000) : "{(piece * 150)[:150]}"])'


def large(size: int) -> str:
    """Return a program whose plan holds `size` values of 150,000 characters twice."""
    return f'resource "terraform_data" "x" {{\n  input = [for i in range({size}) : {repeated(".")}]\n}}\n'


POISON: dict[str, tuple[Program, str]] = {
    "nested too deeply": (Program(id="poison", text=nested(1500)), "PlanTooLarge"),
    "a plan of megabytes": (Program(id="poison", text=large(20)), "PlanTooLarge"),
    "a plan beyond what a run may write": (Program(id="poison", text=large(200)), "PlanTooLarge"),
    "a name like ours with 5,000 digits": (cycle("r" + "9" * 5000), "Cycle"),
    "slashes": (Program(id="poison", text=refused(repeated("/"))), "InvalidValueForVariable"),
    "names like our folders": (Program(id="poison", text=refused(repeated("r1/"))), "InvalidValueForVariable"),
    "our own words for no network": (
        Program(id="poison", text=refused('"socket: operation not permitted"')),
        "InvalidValueForVariable",
    ),
}


def judged(terraform: Terraform, keeper: ProviderServers, *programs: Program) -> list[ProgramVerdict]:
    request = VerifyRequest(programs=list(programs), stages=STAGES, policy=HousePolicy(comment=""))
    return Verifier(terraform, servers=keeper).verify(request).verdicts


@pytest.mark.parametrize("name", POISON)
def test_the_neighbours_of_a_poison_keep_their_verdicts(
    terraform: Terraform, keeper: ProviderServers, name: str
) -> None:
    poison, code = POISON[name]
    started = time.process_time()
    good, bad, wrong = judged(terraform, keeper, GOOD, poison, WRONG)
    assert time.process_time() - started < 10  # the slashes took two minutes
    assert good.passed
    assert [d.code for d in wrong.stages[-1].diagnostics] == ["UnsupportedArgument"]
    last = bad.stages[-1]
    assert (bad.passed, [d.code for d in last.diagnostics]) == (False, [code])
    assert last.inconclusive is (code == "PlanTooLarge")


def test_no_depth_of_a_plan_is_too_much_for_a_later_stage(terraform: Terraform, keeper: ProviderServers) -> None:
    deep = [Program(id=str(depth), text=nested(depth)) for depth in (400, 900, 950, 960, 970, 980)]
    good, *verdicts = judged(terraform, keeper, GOOD, *deep)
    assert good.passed
    assert {verdict.id for verdict in verdicts if verdict.passed} >= {"400", "900"}
    codes = [verdict.stages[-1].diagnostics[0].code for verdict in verdicts if not verdict.passed]
    assert set(codes) == {"PlanTooLarge"}


def test_a_plan_of_three_mebibytes_passes(terraform: Terraform, keeper: ProviderServers) -> None:
    assert judged(terraform, keeper, Program(id="large", text=large(10)))[0].passed


@pytest.mark.parametrize(("deadlines", "code"), [(DEADLINES, "Timeout"), (SHARED, "JudgedApart")])
def test_a_fmt_that_is_stopped_is_no_verdict_on_programs_of_several_callers(
    terraform: Terraform, monkeypatch: pytest.MonkeyPatch, deadlines: Deadlines, code: str
) -> None:
    def stopped(*_: object) -> list[list[str]]:
        raise FormatError("stopped")

    monkeypatch.setattr(stages, "unformatted", stopped)
    request = VerifyRequest(programs=[GOOD, WRONG], stages=[Stage.FORMAT])
    verdicts = Verifier(terraform, deadlines=deadlines).verify(request).verdicts
    assert [d.code for verdict in verdicts for d in verdict.stages[0].diagnostics] == [code, code]
