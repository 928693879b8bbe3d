"""Batches against lone terraform: every program gets in company the verdict that it gets alone, for the same reasons.

What lone terraform says was recorded (see `record`); each day some of it is asked again.
"""

from __future__ import annotations

import datetime
import sys
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from loraform_api.verification import Diagnostic, Program, Stage, VerifyRequest
from loraform_verifier.hcl.configuration import read_program
from loraform_verifier.terraform.diagnostics import MAX_PER_PROGRAM, code_of
from loraform_verifier.terraform.plan import Planner, PlanOutcome
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

from . import verdicts
from .lone import Verdict, digest_of, ready, validated
from .programs import programs
from .record import digest, judged, recorded, to_plan, toolchain, verdict_of

AGAIN = "python -m tests.integration.agreement.record"
ASKED_AGAIN, PLANNED_AGAIN = 40, 4
JUDGED = [stage.lower() for stage in verdicts.STAGES]
PLACELESS = {"InvalidValueForVariable"}
"""Terraform places these in the `module` block that calls; for a default of the program's own ours says nothing."""
Found = set[tuple[str | None, int | None, str]]

VERSIONS, ENTRIES = recorded()
PROGRAMS = {program.id: program for program in programs()}
UNREADABLE = {program.id for program in PROGRAMS.values() if read_program(program).problems}


@pytest.fixture(scope="module")
def terraform(terraform: Terraform) -> Terraform:
    assert toolchain(terraform) == VERSIONS, f"other versions than recorded: {AGAIN}"
    return terraform


@pytest.fixture(scope="module")
def keeper(terraform: Terraform) -> Iterator[ProviderServers]:
    with ProviderServers(terraform) as kept:
        yield kept


@pytest.fixture(scope="module")
def together(terraform: Terraform, keeper: ProviderServers) -> dict[str, PlanOutcome]:
    """What comes of all programs that lone terraform was asked to plan, planned in company."""
    asked = [program for name, program in PROGRAMS.items() if "plan" in ENTRIES[name]]
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


def test_validate_in_company_agrees_with_validate_alone(terraform: Terraform, keeper: ProviderServers) -> None:
    asked = [program for name, program in PROGRAMS.items() if name not in UNREADABLE]
    answer = Verifier(terraform, servers=keeper).verify(VerifyRequest(programs=asked, stages=[Stage.VALIDATE]))
    results = {verdict.id: verdict.stages[0] for verdict in answer.verdicts}
    wanted = {program.id: in_classes(verdict_of(ENTRIES[program.id], "validate")) for program in asked}
    assert max(len(ENTRIES[program.id]["validate"]) for program in asked) <= MAX_PER_PROGRAM
    assert {name for name, result in results.items() if result.inconclusive} == set()
    assert differences({name: found_in(result.diagnostics) for name, result in results.items()}, wanted) == {}
    assert {name for name, result in results.items() if result.passed} == {
        n for n, errors in wanted.items() if not errors
    }


def test_plan_in_company_agrees_with_plan_alone(together: dict[str, PlanOutcome]) -> None:
    assert {name: outcome.undecided for name, outcome in together.items() if outcome.undecided} == {}
    found = {name: without_places(found_in(outcome.errors)) for name, outcome in together.items()}
    changes = {name: digest_of(outcome.plan) if outcome.plan else None for name, outcome in together.items()}
    alone = {name: verdict_of(ENTRIES[name], "plan") for name in together}
    assert differences(found, {name: without_places(in_classes(verdict)) for name, verdict in alone.items()}) == {}
    assert {n for n in alone if changes[n] != alone[n].changes} == set()


def test_policy_and_intent_in_company_agree_with_those_of_a_plan_alone(together: dict[str, PlanOutcome]) -> None:
    plans = {name: outcome.plan for name, outcome in together.items() if outcome.plan is not None}
    wanted = {name: {s: entry[s] for s in JUDGED} for name, entry in ENTRIES.items() if "changes" in entry}
    found = verdicts.judged([PROGRAMS[name] for name in plans], list(plans.values()))
    ends = {stage: Counter(verdict[stage]["ends"] for verdict in wanted.values()) for stage in JUDGED}
    words = {stage: len({verdict[stage]["words"] for verdict in wanted.values()}) for stage in JUDGED}
    codes = {code for verdict in wanted.values() for _, _, code in verdict["policy"]["found"]}
    print(f"\n{len(wanted)} plans judged: {ends}, unlike each other: {words}, codes of Policy: {sorted(codes)}")
    assert {n: (f, wanted[n]) for n, f in zip(plans, found, strict=True) if f != wanted.get(n)} == {}
    assert plans.keys() == wanted.keys()
    assert ends["intent"].keys() == {"passed", "failed"}
    assert words["policy"] >= 20
    assert words["intent"] >= 6
    assert {"CommentMissing", "TagMissing", "PolicyDenied", "Region", "NotKnownYet"} <= codes


def test_lone_terraform_still_says_what_was_recorded(terraform: Terraform, keeper: ProviderServers) -> None:
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    print(f"\nseed {day}")
    random = Random(day)
    for name in random.sample(list(ENTRIES), ASKED_AGAIN):
        # By class: terraform names the members of a cycle in any order.
        again = in_classes(validated(ready(PROGRAMS[name], terraform), terraform, keeper))
        assert again == in_classes(verdict_of(ENTRIES[name], "validate")), name
    for name in random.sample([n for n, entry in ENTRIES.items() if "plan" in entry], PLANNED_AGAIN):
        assert judged(PROGRAMS[name], terraform, keeper) == ENTRIES[name]


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
