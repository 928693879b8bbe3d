"""Repair rows from verdicts of stage Schema, which needs no terraform; test_trainer_repair uses terraform."""

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
from loraform_trainer.prepare.dataset.repair.make_rows import MAX_TRIES, RepairRows, make_repair_rows
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.validity import CHUNK, CHUNK_CHARACTERS, Verify
from loraform_verifier.hcl.parse import Document
from loraform_verifier.reflexion import ASK, REASONS, REFUSED
from loraform_verifier.verify import Verifier

ROWS = [TrainingRow(f"data:{i}", row.instruction, "", row.response) for i, row in enumerate(dataset_rows(80, 1))]
NOT_BY_SCHEMA = {"UndeclaredVariable", "ForgottenVariable", "InventedFunction", "WrongReference"}
"""Kinds that stage Schema does not report, or only together with another mistake."""


@dataclass
class SchemaVerifier:
    """The verifier with stage Schema instead of Validate; records its requests."""

    requests: list[VerifyRequest] = field(default_factory=list)
    verifier: Verifier = field(default_factory=Verifier)

    def __call__(self, request: VerifyRequest) -> VerifyResponse:
        self.requests.append(request)
        stages = [Stage.SCHEMA if stage is Stage.VALIDATE else stage for stage in request.stages]
        return self.verifier.verify(request.model_copy(update={"stages": stages}))


def make(
    verify: Verify, percent: int = 25, seed: int = 1, rows: list[TrainingRow] = ROWS, longest: int = 100_000
) -> RepairRows:
    return make_repair_rows(
        rows, percent, verify=verify, policy=None, fits=lambda row: len(row.input) <= longest, seed=seed
    )


def test_percent_decides_the_number_of_rows() -> None:
    verifier = SchemaVerifier()
    assert make(verifier, 0) == RepairRows()
    assert make(verifier, 25, rows=[]) == RepairRows()
    assert verifier.requests == []
    assert [len(make(verifier, percent).rows) for percent in (1, 10, 25, 50)] == [1, 8, 20, 40]


def test_input_shows_the_broken_program_and_the_response_is_the_original() -> None:
    rows = [TrainingRow("d:1", "Make a bucket.", "In Zürich.", ROWS[0].response)]
    (row,) = make(SchemaVerifier(), 50, rows=rows * 2).rows
    assert (row.instruction, row.response) == ("Make a bucket.", ROWS[0].response)
    assert row.id.startswith("d:1#")
    assert row.input.startswith(f"In Zürich.\n\n{REFUSED}\n")
    assert row.input.endswith(f"\n\n{ASK}")
    shown = row.input.partition(f"{REFUSED}\n")[2].partition(f"\n\n{REASONS}")[0]
    assert shown != ROWS[0].response.strip()


def test_same_seed_gives_the_same_rows() -> None:
    first, again, other = make(SchemaVerifier()), make(SchemaVerifier()), make(SchemaVerifier(), seed=2)
    assert first == again
    assert len({row.input for row in first.rows} & {row.input for row in other.rows}) < len(other.rows) / 4


def test_kinds_are_evenly_frequent_despite_kinds_that_are_never_rejected() -> None:
    result = make(SchemaVerifier(), 50)
    assert (len(result.rows), result.missing) == (40, 0)
    assert sum(result.kinds.values()) == 40
    assert result.kinds == Counter(row.id.partition("#")[2] for row in result.rows)
    often = [count for kind, count in result.kinds.items() if kind not in NOT_BY_SCHEMA]
    assert len(often) >= 10
    assert max(often) - min(often) <= 2
    assert result.not_refused > 0


def test_rows_are_used_evenly() -> None:
    used = Counter(row.id.partition("#")[0] for row in make(SchemaVerifier(), 50).rows)
    assert max(used.values()) <= 4
    assert len(used) >= 25


def test_rows_that_are_too_long_are_left_out_and_counted() -> None:
    unlimited = make(SchemaVerifier(), 25)
    length = sorted(len(row.input) for row in unlimited.rows)[len(unlimited.rows) // 2]
    result = make(SchemaVerifier(), 25, longest=length)
    assert result.too_long > 0
    assert all(len(row.input) <= length for row in result.rows)
    assert len(result.rows) + result.missing == 20


def test_number_of_tries_is_limited_when_no_row_is_usable() -> None:
    verifier = SchemaVerifier()
    result = make(verifier, 50, longest=0)
    assert (result.rows, result.missing, result.kinds) == ((), 40, {})
    assert sum(len(request.programs) for request in verifier.requests) < MAX_TRIES * 40 + 60


@pytest.mark.parametrize("inconclusive", [True, False])
def test_accepted_and_undecided_programs_give_no_row(inconclusive: bool) -> None:
    def verify(request: VerifyRequest) -> VerifyResponse:
        undecided = StageResult(stage=Stage.VALIDATE, passed=not inconclusive, inconclusive=inconclusive)
        verdicts = [ProgramVerdict(id=p.id, passed=undecided.passed, stages=[undecided]) for p in request.programs]
        return VerifyResponse(verdicts=verdicts, seconds=0, toolchain={"terraform": "none"})

    result = make(verify, 10)
    assert (result.rows, result.missing) == ((), 8)
    assert result.not_refused >= 8


def test_request_has_the_stages_and_the_rewrite_of_serving() -> None:
    verifier, policy = SchemaVerifier(), HousePolicy(comment="# Ours", tags={"by": "us"})
    result = make_repair_rows(ROWS, 50, verify=verifier, policy=policy, fits=lambda _: True, seed=1)
    (row, *_) = [row for row in result.rows if row.id.endswith("#InventedType")]
    assert "# Ours\nresource" in row.input  # as it would be served, after the rewrite
    make(verifier, 10)
    first, last = verifier.requests[0], verifier.requests[-1]
    assert (first.stages, first.rewrite) == ([Stage.PARSE, Stage.VALIDATE, Stage.POLICY], True)
    assert (last.stages, last.rewrite) == ([Stage.PARSE, Stage.VALIDATE, Stage.POLICY], False)


def test_rows_that_violate_the_policy_are_not_used() -> None:
    verifier, policy = SchemaVerifier(), HousePolicy(required_tags=["owner"])
    tagged = [row for row in ROWS if "tags = {" in row.response][:5]
    kept = [row.with_response(row.response.replace("tags = {", 'tags = {\n    owner = "us"')) for row in tagged]
    rows = [*kept, *(replace(row, id=f"without-{row.id}") for row in tagged)]
    result = make_repair_rows(rows, 50, verify=verifier, policy=policy, fits=lambda _: True, seed=1)
    assert len(result.rows) == 5
    assert not [row.id for row in result.rows if row.id.startswith("without")]


def test_rows_with_a_secret_are_not_used() -> None:
    """They are only here where `checks.secrets` is Off; the finding would be of a secret that the answer repeats."""
    secret = 'locals {\n  password = "hunter2hunter2"\n}\n'
    rows = [*ROWS[:5], *(replace(row, id=f"secret-{row.id}", response=row.response + secret) for row in ROWS[5:10])]
    result = make(SchemaVerifier(), 100, rows=rows)
    assert result.rows
    assert not [row.id for row in result.rows if row.id.startswith("secret")]


def refused(request: VerifyRequest) -> VerifyResponse:
    """Return a verdict that rejects each program."""
    wrong = StageResult(stage=Stage.PARSE, passed=False, diagnostics=[Diagnostic(code="SyntaxError", message="No.")])
    verdicts = [ProgramVerdict(id=p.id, passed=False, stages=[wrong]) for p in request.programs]
    return VerifyResponse(verdicts=verdicts, seconds=0, toolchain={"terraform": "none"})


@pytest.mark.parametrize("characters", [CHUNK_CHARACTERS, 4000])
def test_requests_are_limited_in_programs_and_characters(characters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_rows, "CHUNK_CHARACTERS", characters)
    sizes = []

    def verify(request: VerifyRequest) -> VerifyResponse:
        sizes.append((len(request.programs), sum(len(program.text) for program in request.programs)))
        return refused(request)

    assert len(make(verify, 50, rows=ROWS * 14).rows) == 560
    assert len(sizes) > 1
    assert max(programs for programs, _ in sizes) <= CHUNK
    assert max(total for _, total in sizes) < characters + max(len(row.response) for row in ROWS) + 200


def test_a_kind_that_never_applies_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_rows, "MAX_MISSES", 5)
    calls = 0

    def never_applies(document: Document, random: Random) -> str | None:
        nonlocal calls
        calls += 1
        return None

    monkeypatch.setattr(mistakes, "GENERAL_KINDS", {**mistakes.GENERAL_KINDS, "NeverApplies": never_applies})
    assert len(make(refused, 25).rows) == 20
    assert calls == 5


def test_a_kind_that_is_often_accepted_is_tried_more_often() -> None:
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

    kinds = dict(make(verify, 50, rows=ROWS * 7).kinds)
    assert kinds.pop("InventedFunction") > 0.6 * median(kinds.values())
