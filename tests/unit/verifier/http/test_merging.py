"""Which requests share a run, and that each gets what is its own."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_api.verification import HousePolicy, Program, ProgramVerdict, Stage, StageResult, VerifyRequest
from loraform_verifier.http.merging import (
    MAX_CHARACTERS,
    MAX_PROGRAMS,
    first_batch,
    is_shareable,
    merged,
    needs_own_run,
    runs_until,
    share_of,
    slices,
)
from loraform_verifier.terraform.batch import BATCH_SIZE, JUDGED_APART


def request(text: str = "locals {}\n", **fields: Any) -> VerifyRequest:
    program = Program(id="answer", text=text, prompt="write it")
    return VerifyRequest(**{"programs": [program], "stages": [Stage.PARSE], "within": 60, **fields})


def batch(*requests: VerifyRequest) -> list[int]:
    return first_batch([share_of(r) for r in requests])


@pytest.mark.parametrize(
    ("fields", "shareable"),
    [
        ({}, True),
        ({"within": None}, False),
        ({"programs": []}, False),
        ({"programs": [Program(id="a"), Program(id="b")]}, False),
    ],
)
def test_one_program_with_a_deadline_may_share_a_run(fields: dict[str, Any], shareable: bool) -> None:
    assert is_shareable(request(**fields)) is shareable


@pytest.mark.parametrize(
    "fields",
    [
        {"stages": [Stage.PARSE, Stage.POLICY]},
        {"policy": HousePolicy(comment="# house")},
        {"packs": ["package a"]},
        {"rewrite": True},
        {"judge_raw": True},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_decides_a_verdict_separates_requests(fields: dict[str, Any]) -> None:
    assert batch(request(), request(**fields), request()) == [0, 2]
    assert batch(request(**fields), request()) == [0]


def test_callers_and_deadlines_do_not_separate_requests() -> None:
    assert batch(request(caller="a", within=5), request(caller="b"), request(text="# other\n")) == [0, 1, 2]


def test_every_field_of_a_request_separates_it_or_is_known_not_to() -> None:
    """A new field that decides verdicts must not be left out of the group by accident."""
    left_out = {"programs", "within", "caller"}
    assert set(VerifyRequest.model_fields) - left_out == {"policy", "packs", "stages", "rewrite", "judge_raw"}


def test_a_shared_run_is_bounded() -> None:
    assert len(batch(*[request()] * (MAX_PROGRAMS + 1))) == MAX_PROGRAMS
    long = request(text="#" * 200_000)
    assert len(batch(*[long] * 9)) == MAX_CHARACTERS // 200_000
    huge = request(programs=[Program(id="a", files={f"{n}.tf": "#" * 200_000 for n in range(5)})])
    assert batch(huge, request()) == [0], "the oldest always runs"


def test_callers_take_turns_in_runs_that_do_not_hold_all() -> None:
    long = "#" * 200_000
    waiting = [request(long, caller="many") for _ in range(9)] + [request(long, caller="other")]
    assert batch(*waiting) == [0, 9]
    assert batch(*waiting[1:9]) == [0, 1]
    two = [request(caller=caller) for caller in "aaabbb"]
    assert batch(*two * 12) == sorted(range(72), key=lambda i: (i % 3 + 3 * (i // 6), i))[:MAX_PROGRAMS]


def test_runs_are_counted_as_they_will_be_made() -> None:
    long, other = share_of(request("#" * 200_000)), share_of(request(rewrite=True))
    short, stranger = share_of(request()), share_of(request("#" * 200_000, caller="b"))
    assert runs_until([short]) == 1
    assert runs_until([long] * 5) == 3
    assert runs_until([*[long] * 5, stranger]) == 1
    assert runs_until([short, other]) == 2
    assert runs_until([short] * (MAX_PROGRAMS + 1)) == 2


def test_names_in_a_shared_run_say_nothing_of_callers() -> None:
    together = merged([request(caller="a"), request("# b\n", caller="b")])
    assert [(p.id, p.text, p.prompt) for p in together.programs] == [
        ("0", "locals {}\n", "write it"),
        ("1", "# b\n", "write it"),
    ]
    assert (together.caller, together.within) == ("", None)


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (1, [1]), (BATCH_SIZE, [BATCH_SIZE]), (300, [BATCH_SIZE, 50])])
def test_a_large_request_gives_way_after_each_terraform_batch(count: int, sizes: list[int]) -> None:
    large = request(programs=[Program(id=str(n)) for n in range(count)])
    assert [len(part.programs) for part in slices(large)] == sizes
    assert [p.id for part in slices(large) for p in part.programs] == [p.id for p in large.programs]


@pytest.mark.parametrize("finding", [JUDGED_APART, JUDGED_APART.model_copy(update={"code": "Timeout"})])
def test_a_program_that_a_shared_run_left_is_recognised(finding: Any) -> None:
    stage = StageResult(stage=Stage.VALIDATE, passed=False, inconclusive=True, diagnostics=[finding])
    verdict = ProgramVerdict(id="a", passed=False, stages=[stage])
    assert needs_own_run(request(), verdict) is (finding is JUDGED_APART)


@pytest.mark.parametrize("raw_passed", [True, False, None])
@pytest.mark.parametrize("inconclusive", [True, False])
def test_a_raw_form_without_a_verdict_is_judged_apart(raw_passed: bool | None, inconclusive: bool) -> None:
    stage = StageResult(stage=Stage.VALIDATE, passed=not inconclusive, inconclusive=inconclusive)
    verdict = ProgramVerdict(id="a", passed=not inconclusive, stages=[stage], raw_passed=raw_passed)
    assert needs_own_run(request(rewrite=True, judge_raw=True), verdict) is (raw_passed is None and not inconclusive)
    assert not needs_own_run(request(), verdict)
