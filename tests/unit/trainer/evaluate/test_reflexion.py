"""Figures of Reflexion: chosen candidates, tokens and gains."""

from __future__ import annotations

from loraform_api.finetunejob_status import ArmName
from loraform_api.statistics import Pairs, lower_bound
from loraform_api.verification import Diagnostic, ProgramVerdict, Stage, StageResult
from loraform_trainer.evaluate.answers import GeneratedAnswer
from loraform_trainer.evaluate.arms import Arm, ScoredAnswer
from loraform_trainer.evaluate.reflexion import Attempt, RowRepairs, gain, records, summary
from loraform_verifier.reflexion import Candidate, begin

from ....evaluated import rows, verdict

ARM = Arm(ArmName.CANDIDATE, "x", "c" * 64)


def candidate(text: str, diagnostics: int = 0) -> Candidate:
    found = [Diagnostic(code="UnsupportedArgument", message="No.", line=1)] * diagnostics
    results = [StageResult(stage=Stage.VALIDATE, passed=not found, diagnostics=found)]
    return Candidate(text, ProgramVerdict(id="x", passed=not found, stages=results))


def attempt(tokens: int, found: Candidate | None) -> Attempt:
    return Attempt(GeneratedAnswer("cut", truncated=found is None, tokens=tokens), found)


def history(number: int, *, passed: bool = False) -> RowRepairs:
    first = ScoredAnswer(ARM, rows(9)[number], "first", served=verdict(None if passed else Stage.INTENT))
    return RowRepairs(first, begin(candidate("first", 0 if passed else 3)), outcomes={"first": passed, "good": True})


def test_the_best_sample_is_never_worse_than_the_first_answer() -> None:
    one = history(0)
    one.samples = [attempt(9, c) for c in (None, candidate("worse", 4), candidate("as bad", 3))]
    assert one.best_sample.text == "first"
    one.samples += [attempt(9, c) for c in (candidate("better", 1), candidate("also better", 1))]
    assert one.best_sample.text == "better"


def test_rows_rounds_and_tokens_are_counted() -> None:
    repaired, hopeless, fine = history(0), history(1), history(2, passed=True)
    for one, tokens, found in ((repaired, 100, candidate("good")), (hopeless, 70, None)):
        one.repairs.append(attempt(tokens, found))
        one.course = one.course.after(found)
    repaired.samples = [attempt(60, candidate("as bad", 3)), attempt(60, None)]
    hopeless.samples = [attempt(80, candidate("good"))]
    found = summary([repaired, hopeless, fine], rows=9, rounds=2)
    assert [(r.passed, r.repaired, r.tokens) for r in found.rounds] == [(1, 0, 0), (2, 2, 170), (2, 0, 0)]
    assert (found.rows, found.gain.gained, found.gain.lost) == (9, 1, 0)
    assert (found.best_of_n.passed, found.best_of_n.answers, found.best_of_n.tokens) == (2, 3, 200)
    assert (found.over_best_of_n.gained, found.over_best_of_n.lost) == (1, 1)
    assert [record["id"] for record in records([repaired, hopeless, fine])] == ["row-0", "row-1"]


def test_a_gain_is_paired_and_over_all_rows() -> None:
    found = gain(rows(3), [True, False, False], [False, True, True], rows=10)
    assert (found.gained, found.lost) == (2, 1)
    assert found.low == f"{lower_bound(Pairs(10, gained=2, lost=1)):.4f}"
    assert float(found.low) < 0.1 < float(found.high)
    nothing = gain(rows(1), [True], [True], rows=10)
    assert (nothing.gained, nothing.lost) == (0, 0)
    assert float(nothing.low) < 0 < float(nothing.high)
