"""Repair rows from the Schema stage's verdicts, which need no terraform; with terraform: test_trainer_repair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median

import pytest

from loraform_api.verification import (
    Diagnostic,
    HousePolicy,
    ProgramVerdict,
    Stage,
    StageResult,
    VerifyRequest,
    VerifyResponse,
)
from loraform_demo.corpus import dataset_rows
from loraform_trainer.prepare.dataset.repair import make_rows, mistakes
from loraform_trainer.prepare.dataset.repair.language import FUNCTIONS
from loraform_trainer.prepare.dataset.repair.make_rows import TRIES, Repaired, repair_rows
from loraform_trainer.prepare.dataset.validity import CHUNK, CHUNK_CHARACTERS, Verify
from loraform_trainer.runtime.rows import Row
from loraform_verifier.hcl.parse import Document
from loraform_verifier.reflexion import ASK, REASONS, REFUSED
from loraform_verifier.verify import Verifier

ROWS = [Row(f"data:{i}", row.instruction, "", row.response) for i, row in enumerate(dataset_rows(80, 1))]
NOT_BY_SCHEMA = {"UndeclaredVariable", "ForgottenVariable", "InventedFunction", "WrongReference"}
"""Kinds of which the Schema stage says nothing, or only with another mistake."""


@dataclass
class Judge:
    """The verifier with Schema for Validate; remembers what it was asked."""

    asked: list[VerifyRequest] = field(default_factory=list)
    verifier: Verifier = field(default_factory=Verifier)

    def __call__(self, request: VerifyRequest) -> VerifyResponse:
        self.asked.append(request)
        stages = [Stage.SCHEMA if stage is Stage.VALIDATE else stage for stage in request.stages]
        return self.verifier.verify(request.model_copy(update={"stages": stages}))


def made(verify: Verify, percent: int = 25, seed: int = 1, rows: list[Row] = ROWS, longest: int = 100_000) -> Repaired:
    return repair_rows(rows, percent, verify=verify, policy=None, fits=lambda row: len(row.input) <= longest, seed=seed)


def test_there_are_as_many_as_asked_for_and_none_without_asking() -> None:
    judge = Judge()
    assert made(judge, 0) == Repaired()
    assert made(judge, 25, rows=[]) == Repaired()
    assert judge.asked == []
    assert [len(made(judge, percent).rows) for percent in (1, 10, 25, 50)] == [1, 8, 20, 40]


def test_a_row_asks_for_the_original_and_shows_the_broken_program() -> None:
    rows = [Row("d:1", "Make a bucket.", "In Zürich.", ROWS[0].response)]
    (row,) = made(Judge(), 50, rows=rows * 2).rows
    assert (row.instruction, row.response) == ("Make a bucket.", ROWS[0].response)
    assert row.id.startswith("d:1#")
    assert row.input.startswith(f"In Zürich.\n\n{REFUSED}\n")
    assert row.input.endswith(f"\n\n{ASK}")
    shown = row.input.partition(f"{REFUSED}\n")[2].partition(f"\n\n{REASONS}")[0]
    assert shown != ROWS[0].response.strip()


def test_the_seed_decides_everything() -> None:
    first, again, other = made(Judge()), made(Judge()), made(Judge(), seed=2)
    assert first == again
    assert len({row.input for row in first.rows} & {row.input for row in other.rows}) < len(other.rows) / 4


def test_kinds_are_spread_evenly_and_those_never_refused_take_nobodys_place() -> None:
    found = made(Judge(), 50)
    assert (len(found.rows), found.missing) == (40, 0)
    assert sum(found.kinds.values()) == 40
    assert found.kinds == Counter(row.id.partition("#")[2] for row in found.rows)
    often = [count for kind, count in found.kinds.items() if kind not in NOT_BY_SCHEMA]
    assert len(often) >= 10
    assert max(often) - min(often) <= 2
    assert found.not_refused > 0


def test_rows_are_used_in_turn() -> None:
    used = Counter(row.id.partition("#")[0] for row in made(Judge(), 50).rows)
    assert max(used.values()) <= 4
    assert len(used) >= 25


def test_what_is_too_long_is_left_out_and_counted() -> None:
    whole = made(Judge(), 25)
    length = sorted(len(row.input) for row in whole.rows)[len(whole.rows) // 2]
    found = made(Judge(), 25, longest=length)
    assert found.too_long > 0
    assert all(len(row.input) <= length for row in found.rows)
    assert len(found.rows) + found.missing == 20


def test_it_ends_where_nothing_is_ever_good() -> None:
    judge = Judge()
    found = made(judge, 50, longest=0)
    assert (found.rows, found.missing, found.kinds) == ((), 40, {})
    assert sum(len(request.programs) for request in judge.asked) < TRIES * 40 + 60


@pytest.mark.parametrize("inconclusive", [True, False])
def test_what_is_not_refused_for_sure_is_no_mistake(inconclusive: bool) -> None:
    def verify(request: VerifyRequest) -> VerifyResponse:
        undecided = StageResult(stage=Stage.VALIDATE, passed=not inconclusive, inconclusive=inconclusive)
        verdicts = [ProgramVerdict(id=p.id, passed=undecided.passed, stages=[undecided]) for p in request.programs]
        return VerifyResponse(verdicts=verdicts, seconds=0, toolchain={"terraform": "none"})

    found = made(verify, 10)
    assert (found.rows, found.missing) == ((), 8)
    assert found.not_refused >= 8


def test_the_verifier_is_asked_what_serving_asks() -> None:
    judge, policy = Judge(), HousePolicy(comment="# Ours", tags={"by": "us"})
    found = repair_rows(ROWS, 50, verify=judge, policy=policy, fits=lambda _: True, seed=1)
    (row, *_) = [row for row in found.rows if row.id.endswith("#InventedType")]
    assert "# Ours\nresource" in row.input  # as it would be served, after the rewrite
    made(judge, 10)
    first, last = judge.asked[0], judge.asked[-1]
    assert (first.stages, first.rewrite) == ([Stage.PARSE, Stage.VALIDATE, Stage.POLICY], True)
    assert (last.stages, last.rewrite) == ([Stage.PARSE, Stage.VALIDATE], False)


def test_an_answer_that_breaks_the_policy_itself_is_no_answer_to_a_repair() -> None:
    judge, policy = Judge(), HousePolicy(required_tags=["owner"])
    tagged = [row for row in ROWS if "tags = {" in row.response][:5]
    kept = [row.with_response(row.response.replace("tags = {", 'tags = {\n    owner = "us"')) for row in tagged]
    rows = [*kept, *(replace(row, id=f"without-{row.id}") for row in tagged)]
    found = repair_rows(rows, 50, verify=judge, policy=policy, fits=lambda _: True, seed=1)
    assert len(found.rows) == 5
    assert not [row.id for row in found.rows if row.id.startswith("without")]


def refused(request: VerifyRequest) -> VerifyResponse:
    """Refuse everything."""
    wrong = StageResult(stage=Stage.PARSE, passed=False, diagnostics=[Diagnostic(code="SyntaxError", message="No.")])
    verdicts = [ProgramVerdict(id=p.id, passed=False, stages=[wrong]) for p in request.programs]
    return VerifyResponse(verdicts=verdicts, seconds=0, toolchain={"terraform": "none"})


@pytest.mark.parametrize("characters", [CHUNK_CHARACTERS, 4000])
def test_requests_stay_small_enough_for_the_service(characters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_rows, "CHUNK_CHARACTERS", characters)
    sizes = []

    def verify(request: VerifyRequest) -> VerifyResponse:
        sizes.append((len(request.programs), sum(len(program.text) for program in request.programs)))
        return refused(request)

    assert len(made(verify, 50, rows=ROWS * 14).rows) == 560
    assert len(sizes) > 1
    assert max(programs for programs, _ in sizes) <= CHUNK
    assert max(total for _, total in sizes) < characters + max(len(row.response) for row in ROWS) + 200


def test_a_kind_without_a_place_is_not_looked_for_in_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_rows, "BARREN", 5)
    looked = 0

    def nowhere(document: Document, random: Random) -> str | None:
        nonlocal looked
        looked += 1
        return None

    monkeypatch.setattr(mistakes, "KINDS", {**mistakes.KINDS, "Nowhere": nowhere})
    assert len(made(refused, 25).rows) == 20
    assert looked == 5


def test_a_kind_that_is_often_let_pass_is_tried_more() -> None:
    seen = 0

    def verify(request: VerifyRequest) -> VerifyResponse:
        nonlocal seen
        response = refused(request)
        for program, verdict in zip(request.programs, response.verdicts, strict=True):
            if any(f"{name}(" in program.text for name in FUNCTIONS):
                seen += 1
                if seen % 2:
                    verdict.stages[0] = StageResult(stage=Stage.PARSE, passed=True)
        return response

    kinds = dict(made(verify, 50, rows=ROWS * 7).kinds)
    assert kinds.pop("InventedFunction") > 0.6 * median(kinds.values())
