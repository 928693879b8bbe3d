"""The verifier: requests, stages, and failures of its own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest

from loraform_api.verification import HousePolicy, IntentSpec, Program, Stage, VerifyRequest
from loraform_verifier.hcl.normalise import Normalised
from loraform_verifier.sandbox.isolation import MIB, IsolationError
from loraform_verifier.sandbox.worker import Worker, WorkFailedError, WorkLimits
from loraform_verifier.stages import own_checks
from loraform_verifier.stages.own_checks import Sources
from loraform_verifier.stages.results import MAX_FINDINGS, MAX_MESSAGE
from loraform_verifier.terraform.batch import JUDGED_APART
from loraform_verifier.terraform.validate import ValidateOutcome, Validator
from loraform_verifier.verify import RequestError, Verifier

P = ParamSpec("P")
R = TypeVar("R")


def test_each_stage_is_announced_with_the_number_of_its_programs() -> None:
    told: list[tuple[Stage, int]] = []
    programs = [Program(id="good", text="locals {}\n"), Program(id="broken", text="locals {\n")]
    request = VerifyRequest(programs=programs, stages=[Stage.POLICY, Stage.PARSE], policy=HousePolicy())
    Verifier().verify(request, beginning=lambda stage, count: told.append((stage, count)))
    assert told == [(Stage.PARSE, 2), (Stage.POLICY, 1)]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            VerifyRequest(programs=[], stages=[Stage.PARSE], packs=["package x"]),
            "packs: only the Policy stage evaluates packs",
        ),
        (VerifyRequest(programs=[], stages=[Stage.PARSE], rewrite=True), "policy: `rewrite` needs a policy"),
        (VerifyRequest(programs=[], stages=[Stage.POLICY], packs=["package x"]), "stages: Policy with `packs` needs"),
    ],
)
def test_contradictory_requests_are_refused(request_: VerifyRequest, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Verifier().verify(request_)


DATABASE = 'resource "aws_db_instance" "a" {\n  password = "hunter2hunter2"\n}\n'


def policy_findings(program: Program, policy: HousePolicy | None, *, rewrite: bool = False) -> list[tuple[object, ...]]:
    request = VerifyRequest(programs=[program], stages=[Stage.PARSE, Stage.POLICY], policy=policy, rewrite=rewrite)
    (verdict,) = Verifier().verify(request).verdicts
    assert "hunter2" not in verdict.model_dump_json(exclude={"rewritten", "rewritten_files"})
    (result,) = verdict.stages[1:]
    assert result.passed == (not result.diagnostics)
    return [(d.code, d.file, d.line) for d in result.diagnostics]


@pytest.mark.parametrize("policy", [None, HousePolicy(), HousePolicy(tags={"by": "us"}, comment="# ours")])
def test_policy_finds_a_literal_secret_with_and_without_a_house_policy(policy: HousePolicy | None) -> None:
    program = Program(id="a", text=DATABASE, files={"net/main.tf": f"# {'gh' + 'p_' + 'aB3' * 12}\n"})
    rewrite = policy is not None
    lines = 3 if policy and policy.comment else 2
    assert policy_findings(program, policy, rewrite=rewrite) == [
        ("LiteralSecret", "main.tf", lines),
        ("LiteralSecret", "net/main.tf", 1),
    ]


def test_policy_allows_a_literal_that_the_prompt_names() -> None:
    asked = Program(id="a", text=DATABASE, prompt="A database whose password is hunter2hunter2, please.")
    assert policy_findings(asked, None) == []
    assert policy_findings(asked.model_copy(update={"prompt": "A database."}), None) != []


WITHOUT_TOOLCHAIN = {Stage.PARSE, Stage.SCHEMA, Stage.POLICY, Stage.INTENT}


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage not in WITHOUT_TOOLCHAIN])
def test_a_stage_that_needs_terraform_or_a_plan_is_refused_without(stage: Stage) -> None:
    """A new stage is here, in `WITH_TERRAFORM` or in `ON_PLAN`: else it would pass programs that it cannot check."""
    request = VerifyRequest(programs=[Program(id="a", text="locals {}\n")], stages=[stage])
    with pytest.raises(RequestError, match=f"stages: {stage} needs"):
        Verifier().verify(request)


@pytest.mark.parametrize("stage", sorted(WITHOUT_TOOLCHAIN))
@pytest.mark.parametrize(
    "program", [Program(id="a", text="# only this\n"), Program(id="a", files={"m/main.tf": "locals {}\n"})]
)
def test_a_program_whose_root_module_is_empty_passes_no_stage(program: Program, stage: Stage) -> None:
    (verdict,) = Verifier().verify(VerifyRequest(programs=[program], stages=[stage], policy=HousePolicy())).verdicts
    assert [(r.passed, r.inconclusive, [d.code for d in r.diagnostics]) for r in verdict.stages] == [
        (False, False, ["Empty"])
    ]


class _Fragile(Validator):
    """A validator that raises on programs with `poison` and accepts all others."""

    def __init__(self, error: Exception) -> None:
        self.error, self.runs = error, 0

    def validate(self, programs: list[Normalised]) -> list[ValidateOutcome]:
        self.runs += 1
        if any(b"poison" in text for program in programs for text in program.files.values()):
            raise self.error
        return [ValidateOutcome() for _ in programs]


def _with_poison(place: int, count: int) -> VerifyRequest:
    programs = [Program(id=str(n), text="locals {}\n" + "# poison\n" * (n == place)) for n in range(count)]
    return VerifyRequest(programs=programs, stages=[Stage.PARSE, Stage.VALIDATE])


def test_a_program_that_crashes_a_stage_does_not_affect_others(caplog: pytest.LogCaptureFixture) -> None:
    validator = _Fragile(KeyError("unforeseen"))
    verdicts = Verifier(validator=validator).verify(_with_poison(41, 100)).verdicts
    assert [verdict.id for verdict in verdicts if not verdict.passed] == ["41"]
    last = verdicts[41].stages[-1]
    assert (last.stage, last.inconclusive, [d.code for d in last.diagnostics]) == (
        Stage.VALIDATE,
        True,
        ["InternalError"],
    )
    assert validator.runs == 1 + 8 + 7 + 2  # by division, not one by one
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize("error", [IsolationError("no filter"), OSError("no space"), MemoryError()])
def test_errors_of_the_machine_are_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        Verifier(validator=_Fragile(error)).verify(_with_poison(0, 2))


class _LeavesUntagged(Validator):
    """A validator that has no verdict on programs without the tag, and accepts all others."""

    def __init__(self) -> None:
        pass

    def validate(self, programs: list[Normalised]) -> list[ValidateOutcome]:
        tagged = (b"PiCloud" in program.files["main.tf"] for program in programs)
        return [ValidateOutcome(undecided=None if right else JUDGED_APART) for right in tagged]


def test_a_raw_form_without_a_verdict_is_not_said_to_fail() -> None:
    text = 'resource "aws_vpc" "v" {\n  tags = { created_by = "%s" }\n}\n'
    programs = [Program(id=tag, text=text % tag) for tag in ("PiCloud", "me")]
    policy = HousePolicy(tags={"created_by": "PiCloud"})
    stages = [Stage.PARSE, Stage.VALIDATE]
    request = VerifyRequest(programs=programs, stages=stages, policy=policy, rewrite=True, judge_raw=True)
    verdicts = Verifier(validator=_LeavesUntagged()).verify(request).verdicts
    assert [(verdict.passed, verdict.raw_passed) for verdict in verdicts] == [(True, True), (True, None)]


class _FailsOnPoison(Worker):
    """A worker of this process, in which a check fails on programs with `crash`."""

    def __init__(self, check: Callable[..., object]) -> None:
        super().__init__()
        self._check = check

    def call(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        sources = arguments[0]
        if function is self._check and isinstance(sources, Sources) and "crash" in sources.files[0][1]:
            raise WorkFailedError("the traceback")
        return function(*arguments, **named)


CHECKS = {
    Stage.PARSE: own_checks.read,
    Stage.SCHEMA: own_checks.check_schema,
    Stage.VALIDATE: own_checks.prepare,
    Stage.POLICY: own_checks.check_policy,
    Stage.INTENT: own_checks.check_intent,
}


@pytest.mark.parametrize("stage", CHECKS)
def test_a_program_that_fails_in_a_check_does_not_affect_others(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    texts = ("locals {\n}\n", "# crash\nlocals {\n}\n", "locals {\n}\n")
    programs = [Program(id=str(n), text=text, asked=IntentSpec()) for n, text in enumerate(texts)]
    request = VerifyRequest(programs=programs, stages=list(CHECKS))
    verifier = Verifier(validator=_Fragile(KeyError()), worker=_FailsOnPoison(CHECKS[stage]))
    good, poison, also_good = verifier.verify(request).verdicts
    assert good.passed
    assert also_good.passed
    failed = [(r.stage, r.inconclusive, r.diagnostics[0].code) for r in poison.stages if not r.passed]
    assert failed[0] == (stage, True, "InternalError")
    assert "the traceback" in caplog.text


DENSE = "locals {\n  x = [" + "1," * 98_000 + "]\n}\n"
BOUNDED = [
    (WorkLimits(seconds=0.15), "it took more than 0.15 s of processor time"),
    (WorkLimits(memory=96 * MIB), "it took more than 96 MiB of memory"),
]


@pytest.mark.parametrize(("limits", "words"), BOUNDED)
def test_a_program_beyond_the_limits_is_undecided_and_its_neighbours_keep_their_verdicts(
    limits: WorkLimits, words: str
) -> None:
    programs = [Program(id=str(n), text=DENSE if n == 1 else "locals {\n}\n") for n in range(3)]
    worker = Worker(limits, modules=(own_checks.__name__,))
    try:
        response = Verifier(worker=worker).verify(VerifyRequest(programs=programs, stages=[Stage.PARSE, Stage.POLICY]))
    finally:
        worker.close()
    good, dense, also_good = response.verdicts
    assert good.passed
    assert also_good.passed
    assert [(r.stage, r.inconclusive, r.diagnostics[0].code) for r in dense.stages] == [(Stage.PARSE, True, "Timeout")]
    assert words in dense.stages[0].diagnostics[0].message


def test_a_policy_finds_thousands_and_shows_some() -> None:
    text = "".join(f'resource "aws_vpc" "{"x" * 90}{n}" {{\n}}\n' for n in range(1500))
    request = VerifyRequest(
        programs=[Program(id="a", text=text)], stages=[Stage.POLICY], policy=HousePolicy(tags={"a": "b"})
    )
    (verdict,) = Verifier().verify(request).verdicts
    assert len(verdict.stages[0].diagnostics) == MAX_FINDINGS


def test_no_message_is_as_long_as_a_name() -> None:
    text = f'resource "aws_vpc" "{"x" * 100_000}" {{\n}}\n'
    request = VerifyRequest(
        programs=[Program(id="a", text=text)], stages=[Stage.POLICY], policy=HousePolicy(tags={"a": "b"})
    )
    (verdict,) = Verifier().verify(request).verdicts
    (finding,) = verdict.stages[0].diagnostics
    assert len(finding.message) == MAX_MESSAGE
