"""Arms, their prompts, and what is counted."""

from __future__ import annotations

from loraform_api.finetunejob_status import ArmName, BestOfN, Gain, PassAtK, Reflexion, ReflexionRound
from loraform_api.run import TERMINATION_LIMIT, CheckpointScore, EvaluateResult, StageReport
from loraform_api.verification import GATE, Diagnostic, HousePolicy, ProgramVerdict, Stage, StageResult
from loraform_trainer.arms import Arm, Row, Scored, arms, count, pair, state
from loraform_trainer.evaluation.generation import SAMPLED
from loraform_trainer.evaluation.toolchain import LONGEST

POLICY = HousePolicy(comment="# Made by us", tags={"created_by": "PiCloud"})
CANDIDATE, LIVE = "c" * 64, "d" * 64


def row(name: str, *stages: Stage) -> Row:
    return Row(name, "suite", f"Create {name}", "", None, stages or GATE)


def verdict(*passed: Stage, failed: Stage | None = None, inconclusive: bool = False) -> ProgramVerdict:
    results = [StageResult(stage=s, passed=True) for s in passed]
    if failed is not None:
        results.append(StageResult(stage=failed, passed=False, inconclusive=inconclusive))
    return ProgramVerdict(id="1", passed=failed is None, stages=results)


def test_arms_of_a_first_run_and_of_a_later_one() -> None:
    assert [a.name for a in arms(CANDIDATE, None, POLICY)] == ["Base", "BaseWithPolicy", "Candidate"]
    later = arms(CANDIDATE, LIVE, POLICY)
    assert [(a.name, a.model) for a in later] == [
        ("Base", "base"), ("BaseWithPolicy", "base"), ("Live", "adapter-dddddddddddddddd"),
        ("Candidate", "adapter-cccccccccccccccc"),
    ]  # fmt: skip
    assert [a.name for a in arms(CANDIDATE, None, None)] == ["Base", "Candidate"]


def test_only_the_policy_arm_is_told_the_policy() -> None:
    base, told, candidate = arms(CANDIDATE, None, POLICY)
    question = row("a bucket")
    assert base.instruction(question) == candidate.instruction(question) == "Create a bucket"
    assert told.instruction(question) == (
        'Create a bucket Put the comment "Made by us" above each resource. '
        "Add the tag created_by with the value PiCloud."
    )
    assert state(HousePolicy()) == ""


def test_every_rate_is_over_all_rows() -> None:
    arm = Arm(ArmName.CANDIDATE, "x", CANDIDATE)
    passed = verdict(*GATE)
    scored = [
        Scored(arm, row("a"), "A", raw=passed, served=passed),
        Scored(arm, row("b"), "B", raw=verdict(*GATE[:3], failed=Stage.POLICY), served=passed),
        Scored(arm, row("c"), "B", raw=verdict(Stage.PARSE, failed=Stage.VALIDATE, inconclusive=True),
               served=verdict(Stage.PARSE, failed=Stage.VALIDATE, inconclusive=True)),
        Scored(arm, row("d"), "", truncated=True),
    ]  # fmt: skip
    result = count(arm.name, scored)
    raw = {name: counts.raw for name, counts in result.counts.items()}
    served = {name: counts.served for name, counts in result.counts.items()}
    assert raw == {"Parse": 3, "Validate": 2, "Plan": 2, "Policy": 1, "Intent": 1, "All": 1}
    assert served == {"Parse": 3, "Validate": 2, "Plan": 2, "Policy": 2, "Intent": 2, "All": 2}
    assert (result.rows, result.truncated, result.inconclusive, result.distinct_answers) == (4, 1, 1, 3)


def test_pairs_compare_raw_outcomes_row_by_row() -> None:
    good, bad = verdict(Stage.PARSE), verdict(failed=Stage.PARSE)

    def side(arm: ArmName, *outcomes: ProgramVerdict) -> list[Scored]:
        return [Scored(Arm(arm, "m"), row(str(i)), "x", raw=o, served=good) for i, o in enumerate(outcomes)]

    paired = pair(side(ArmName.LIVE, good, good, bad, bad, bad), side(ArmName.CANDIDATE, good, bad, good, good, bad))
    assert paired.reference is ArmName.LIVE
    assert (paired.both_passed, paired.candidate_only, paired.reference_only, paired.neither_passed) == (1, 2, 1, 1)


def test_the_largest_report_fits_a_termination_message() -> None:
    good = verdict(*Stage)
    compared = arms(CANDIDATE, LIVE, POLICY, chats=True)
    by_arm = [[Scored(arm, row(str(i), *Stage), "x", raw=good, served=good) for i in range(3)] for arm in compared]
    drawn = [PassAtK(k=k, rate="0.1234", low="0.1234", high="0.1234") for k in (1, 5, 10)]
    results = [
        count(arm.name, scored).model_copy(
            update={"pass_at_k": drawn if arm.name in SAMPLED else [], "hallucinated": 100_000}
        )
        for arm, scored in zip(compared, by_arm, strict=True)
    ]
    for result in results:
        for counts in result.counts.values():
            object.__setattr__(counts, "raw", 100_000)
    paired = pair(by_arm[2], by_arm[3])
    gain = Gain(gained=100_000, lost=100_000, low="-0.1234", high="-0.1234")
    evaluated = EvaluateResult(
        selection=[CheckpointScore(step=1_000_000 + i, rows=100, passed=100) for i in range(3)],
        arms=results, paired=paired, live_digest=LIVE, parity_max_difference="0.000123", toolchain="t" * LONGEST,
        reflexion=Reflexion(
            rows=100_000, gain=gain, over_best_of_n=gain,
            rounds=[ReflexionRound(round=i, passed=100_000, repaired=100_000, tokens=10**9) for i in range(3)],
            best_of_n=BestOfN(passed=100_000, answers=100_000, tokens=10**9),
        ),
    )  # fmt: skip
    report = StageReport(stage="evaluate", message="m" * 1000, evaluate=evaluated)
    assert len(report.encode()) <= TERMINATION_LIMIT


def test_a_suite_row_is_read_as_prepare_wrote_it() -> None:
    written = {
        "id": "a", "suite": "s", "instruction": "i", "input": "", "asked": None, "stages": ["Plan", "Intent"],
        "rego": "package x", "types": ["aws_vpc"], "difficulty": "3", "cluster": "7",
    }  # fmt: skip
    read = Row.from_json(written)
    assert (read.stages, read.rego, read.types) == ((Stage.PLAN, Stage.INTENT), "package x", ("aws_vpc",))
    assert (read.difficulty, read.cluster) == ("3", "7")


def test_clusters_are_those_of_one_suite_and_a_row_without_one_stands_alone() -> None:
    def key(id_: str, suite: str, cluster: str) -> str:
        return Row(id_, suite, "", "", None, (), cluster=cluster).cluster_key

    assert key("a", "one", "1") == key("b", "one", "1")
    assert (
        len({key("a", "one", "1"), key("a", "two", "1"), key("a", "one", ""), key("b", "one", ""), key("1", "", "")})
        == 5
    )


def test_what_does_not_exist_is_told_from_what_is_wrong() -> None:
    arm = Arm(ArmName.CANDIDATE, "x", CANDIDATE)

    def answer(code: str) -> Scored:
        found = StageResult(stage=Stage.VALIDATE, passed=False, diagnostics=[Diagnostic(code=code, message="m")])
        return Scored(arm, row("a"), "A", raw=ProgramVerdict(id="1", passed=False, stages=[found]))

    codes = ("UnsupportedArgument", "InvalidResourceType", "MissingRequiredArgument", "SyntaxError")
    scored = [answer(code) for code in codes]
    assert [s.hallucinated for s in scored] == [True, True, False, False]
    assert count(arm.name, [*scored, Scored(arm, row("b"), "", truncated=True)]).hallucinated == 2
