"""Batches against lone terraform: every program gets in company the verdict that it gets alone, for the same reasons.

What lone terraform says was recorded (see `record`). For each commit some programs of every kind are drawn, put in
company and asked again alone; `make test-long` takes all of them.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator

import pytest
from _pytest.mark import ParameterSet

from loraform_api.verification import Diagnostic, Program, Stage, VerifyRequest
from loraform_verifier.hcl.configuration import read_program
from loraform_verifier.terraform.diagnostics import MAX_PER_PROGRAM, code_of
from loraform_verifier.terraform.plan import Planner, PlanOutcome
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

from ...drawn import some_of_each
from . import verdicts
from .edits import EDITS
from .lone import Verdict, digest_of, ready, validated
from .programs import MODULE, bases, programs
from .record import digest, judged, recorded, to_plan, toolchain, verdict_of

AGAIN = "python -m tests.integration.agreement.record"
JUDGED = [stage.lower() for stage in verdicts.STAGES]
PLACELESS = {"InvalidValueForVariable"}
"""Terraform places these in the `module` block that calls; for a default of the program's own ours says nothing."""
Found = set[tuple[str | None, int | None, str]]

VERSIONS, ENTRIES = recorded()
PROGRAMS = {program.id: program for program in programs()}
UNREADABLE = {program.id for program in PROGRAMS.values() if read_program(program).problems}
READABLE = [program for name, program in PROGRAMS.items() if name not in UNREADABLE]
PLANNED = [program for name, program in PROGRAMS.items() if "plan" in ENTRIES[name]]
MADE_BY = {edit.__name__ for edit in EDITS}


def base_of(program: Program) -> str:
    return re.split(r"[:,]| \(", program.id)[0]


def kinds_of(program: Program) -> list[str]:
    """Return by what a program was made, what it wears, and the classes of what lone terraform finds."""
    made, _, worn = program.id.partition(" (")
    edit = made.partition(": ")[2].partition(" ")[0]
    shape = ["module" if MODULE in program.files else "several files" if program.files else "one file"]
    found = {code_of(summary) for _, _, summary in ENTRIES[program.id]["validate"]} or {"valid"}
    return [*({edit} & MADE_BY), *filter(None, worn.rstrip(")").split(", ")), *shape, *sorted(found)]


def has_placeless_error(program: Program) -> bool:
    return any(file is None for file, _, _ in ENTRIES[program.id]["validate"])


def outcome_of(program: Program) -> list[str]:
    """Return how far lone terraform comes with a program."""
    if program.id in UNREADABLE:
        return ["unreadable"]
    if has_placeless_error(program):
        return ["wrong somewhere"]
    return ["wrong" if ENTRIES[program.id]["validate"] else "valid"]


def ends_of(program: Program) -> list[str]:
    """Return whether lone terraform plans a program, and how the stages end that are asked of the plan."""
    entry = ENTRIES[program.id]
    return [f"{stage} {entry[stage]['ends']}" for stage in JUDGED if stage in entry] or ["not planned"]


DRAWN = some_of_each(READABLE, kinds_of)
PLANNED_DRAWN = some_of_each(PLANNED, lambda program: [base_of(program), *ends_of(program)])
PLACED = [program for program in DRAWN if not has_placeless_error(program)]
PLACELESS_COMPANY = [*PLACED[::20], *(program for program in DRAWN if has_placeless_error(program))]


@pytest.fixture(scope="module")
def terraform(terraform: Terraform) -> Terraform:
    assert toolchain(terraform) == VERSIONS, f"other versions than recorded: {AGAIN}"
    return terraform


@pytest.fixture(scope="module")
def keeper(terraform: Terraform) -> Iterator[ProviderServers]:
    with ProviderServers(terraform) as kept:
        yield kept


Together = dict[str, PlanOutcome]


@pytest.fixture(
    scope="module",
    params=[pytest.param(PLANNED_DRAWN, id="drawn"), pytest.param(PLANNED, id="all", marks=pytest.mark.slow)],
)
def together(request: pytest.FixtureRequest, terraform: Terraform, keeper: ProviderServers) -> Together:
    """What comes of programs that lone terraform was asked to plan, planned in company."""
    asked: list[Program] = request.param
    outcomes = Planner(terraform, servers=keeper).plan([to_plan(program, terraform) for program in asked])
    return {program.id: outcome for program, outcome in zip(asked, outcomes, strict=True)}


def in_classes(verdict: Verdict) -> Found:
    return {(file, line, code_of(summary)) for file, line, summary in verdict.errors}


def found_in(diagnostics: list[Diagnostic]) -> Found:
    return {(d.file, d.line, d.code) for d in diagnostics}


def lines_off(program: Program, verdict: Verdict) -> int:
    """Return how far the nearest of the parser's problems lies from the nearest error of terraform."""
    problems = [(problem.file, problem.line) for problem in read_program(program).problems]
    found = [
        abs(ours - line) for at, ours in problems for file, line, _ in verdict.errors if at == file and ours and line
    ]
    return min(found, default=sys.maxsize)


def without_places(found: Found) -> Found:
    return {(None, None, code) if code in PLACELESS else (file, line, code) for file, line, code in found}


def differences(found: dict[str, Found], wanted: dict[str, Found]) -> dict[str, tuple[Found, Found]]:
    """Return by program what only the batch found and what only lone terraform did."""
    return {
        name: (found[name] - wanted[name], wanted[name] - found[name]) for name in wanted if found[name] != wanted[name]
    }


def test_the_record_is_of_these_programs() -> None:
    assert {name: entry["program"] for name, entry in ENTRIES.items()} == {
        name: digest(program) for name, program in PROGRAMS.items()
    }, f"programs changed: {AGAIN}"


def test_the_programs_are_many_and_unlike() -> None:
    blocks = [
        b for p in PROGRAMS.values() for folder in read_program(p).folders for b in read_program(p).blocks(folder)
    ]
    types = {block.labels[0] for block in blocks if block.type in ("resource", "data") and block.labels}
    summaries = {summary for entry in ENTRIES.values() for _, _, summary in entry["validate"]}
    planned = [entry for entry in ENTRIES.values() if "plan" in entry]
    print(f"\n{len(PROGRAMS)} programs, {len(UNREADABLE)} of them unreadable")
    print(f"{len(types)} types of resources and data, {len(summaries)} summaries")
    print(f"{len(planned)} planned, {sum(bool(entry['plan']) for entry in planned)} of them with errors")
    assert len(PROGRAMS) >= 600
    assert len(types) >= 40
    assert len({code_of(summary) for summary in summaries}) >= 30
    assert len(planned) >= 95


def test_what_the_parser_refuses_terraform_refuses_too() -> None:
    off = {name: lines_off(PROGRAMS[name], verdict_of(ENTRIES[name], "validate")) for name in UNREADABLE}
    print("\nlines off:", {name: lines for name, lines in off.items() if lines})
    assert sum(lines == 0 for lines in off.values()) >= 0.95 * len(off)
    assert max(off.values()) <= 3


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(PLACED, id="drawn"),
        pytest.param(PLACELESS_COMPANY, id="drawn with errors that have no place"),
        pytest.param(READABLE, id="all", marks=pytest.mark.slow),
    ],
)
def test_validate_in_company_agrees_with_validate_alone(
    terraform: Terraform, keeper: ProviderServers, asked: list[Program]
) -> None:
    print(f"\n{len(asked)} programs: {[program.id for program in asked]}")
    answer = Verifier(terraform, servers=keeper).verify(VerifyRequest(programs=asked, stages=[Stage.VALIDATE]))
    results = {verdict.id: verdict.stages[0] for verdict in answer.verdicts}
    wanted = {program.id: in_classes(verdict_of(ENTRIES[program.id], "validate")) for program in asked}
    assert max(len(ENTRIES[program.id]["validate"]) for program in asked) <= MAX_PER_PROGRAM
    assert {name for name, result in results.items() if result.inconclusive} == set()
    assert differences({name: found_in(result.diagnostics) for name, result in results.items()}, wanted) == {}
    assert {name for name, result in results.items() if result.passed} == {
        n for n, errors in wanted.items() if not errors
    }


def test_plan_in_company_agrees_with_plan_alone(together: Together) -> None:
    assert {name: outcome.undecided for name, outcome in together.items() if outcome.undecided} == {}
    found = {name: without_places(found_in(outcome.errors)) for name, outcome in together.items()}
    changes = {name: digest_of(outcome.plan) if outcome.plan else None for name, outcome in together.items()}
    alone = {name: verdict_of(ENTRIES[name], "plan") for name in together}
    assert differences(found, {name: without_places(in_classes(verdict)) for name, verdict in alone.items()}) == {}
    assert {n for n in alone if changes[n] != alone[n].changes} == set()


def test_policy_and_intent_in_company_agree_with_those_of_a_plan_alone(together: Together) -> None:
    plans = {name: outcome.plan for name, outcome in together.items() if outcome.plan is not None}
    wanted = {name: {s: ENTRIES[name][s] for s in JUDGED} for name in together if "changes" in ENTRIES[name]}
    found = verdicts.judged([PROGRAMS[name] for name in plans], list(plans.values()))
    assert {n: (f, wanted[n]) for n, f in zip(plans, found, strict=True) if f != wanted.get(n)} == {}
    assert plans.keys() == wanted.keys()


def test_the_plans_differ_in_what_policy_and_intent_say_of_them() -> None:
    wanted = {name: {s: entry[s] for s in JUDGED} for name, entry in ENTRIES.items() if "changes" in entry}
    ends = {stage: Counter(verdict[stage]["ends"] for verdict in wanted.values()) for stage in JUDGED}
    words = {stage: len({verdict[stage]["words"] for verdict in wanted.values()}) for stage in JUDGED}
    codes = {code for verdict in wanted.values() for _, _, code in verdict["policy"]["found"]}
    print(f"\n{len(wanted)} plans judged: {ends}, unlike each other: {words}, codes of Policy: {sorted(codes)}")
    assert ends["intent"].keys() == {"passed", "failed"}
    assert words["policy"] >= 20
    assert words["intent"] >= 6
    assert {"CommentMissing", "TagMissing", "PolicyDenied", "Region", "NotKnownYet"} <= codes


def drawn_and_all(drawn: list[Program], programs: Collection[Program]) -> list[ParameterSet]:
    """Return each program that is drawn for this commit, then everything, base by base."""
    by_base = [[p for p in programs if base_of(p) == base] for base in bases()]
    slow = [pytest.param(some, id=base_of(some[0]), marks=pytest.mark.slow) for some in by_base if some]
    return [*(pytest.param([program], id=f"drawn {program.id}") for program in drawn), *slow]


@pytest.mark.parametrize("asked", drawn_and_all(some_of_each(list(PROGRAMS.values()), outcome_of), PROGRAMS.values()))
def test_lone_terraform_validates_as_was_recorded(
    terraform: Terraform, keeper: ProviderServers, asked: list[Program]
) -> None:
    for program in asked:
        # By class: terraform names the members of a cycle in any order.
        again = in_classes(validated(ready(program, terraform), terraform, keeper))
        assert again == in_classes(verdict_of(ENTRIES[program.id], "validate")), program.id


@pytest.mark.parametrize("asked", drawn_and_all(some_of_each(PLANNED, ends_of), PLANNED))
def test_lone_terraform_plans_as_was_recorded(
    terraform: Terraform, keeper: ProviderServers, asked: list[Program]
) -> None:
    for program in asked:
        assert judged(program, terraform, keeper) == ENTRIES[program.id]


def test_an_error_that_names_nobody_is_not_lost_beside_one_that_does(
    terraform: Terraform, keeper: ProviderServers
) -> None:
    # The second one's error has neither place nor address. The first one's, which only a module has, names its file.
    texts = [
        'variable "v" {\n  default = 1\n  validation {\n    condition = var.v > 5\n    error_message = "No."\n  }\n}\n',
        'resource "terraform_data" "d" {\n  output = 1\n}\n',
        'resource "aws_sns_topic" "t" {\n}\n',
    ]
    asked = [Program(id=str(number), text=text) for number, text in enumerate(texts)]
    answer = Verifier(terraform, servers=keeper).verify(VerifyRequest(programs=asked, stages=[Stage.VALIDATE]))
    assert [verdict.passed for verdict in answer.verdicts] == [True, False, True]
