"""Arms, their prompts, counts and comparisons."""

from __future__ import annotations

from dataclasses import replace

from loraform_api.finetunejob_status import ArmName, PassAtK
from loraform_api.reflexion import BestOfN, Gain, Reflexion, ReflexionRound
from loraform_api.run import TERMINATION_LIMIT, CheckpointScore, Counts, EvaluateResult, StageReport
from loraform_api.verification import GATE, Diagnostic, HousePolicy, ProgramVerdict, Stage, StageResult
from loraform_trainer.evaluate.arms import (
    Arm,
    EvaluationRow,
    ScoredAnswer,
    compared_arms,
    count,
    pair,
    policy_sentences,
)
from loraform_trainer.evaluate.generation import sampled_arms
from loraform_trainer.evaluate.toolchain import MAX_CHARACTERS

POLICY = HousePolicy(comment="# Made by us", tags={"created_by": "PiCloud"})
CANDIDATE, LIVE = "c" * 64, "d" * 64


def row(name: str, *stages: Stage) -> EvaluationRow:
    return EvaluationRow(name, "suite", f"Create {name}", "", None, stages or GATE)


def verdict(*passed: Stage, failed: Stage | None = None, inconclusive: bool = False) -> ProgramVerdict:
    results = [StageResult(stage=s, passed=True) for s in passed]
    if failed is not None:
        results.append(StageResult(stage=failed, passed=False, inconclusive=inconclusive))
    return ProgramVerdict(id="1", passed=failed is None, stages=results)


def test_arms_of_a_first_run_and_of_a_later_one() -> None:
    assert [a.name for a in compared_arms(CANDIDATE, None, POLICY)] == ["Base", "BaseWithPolicy", "Candidate"]
    later = compared_arms(CANDIDATE, LIVE, POLICY)
    assert [(a.name, a.model) for a in later] == [
        ("Base", "base"), ("BaseWithPolicy", "base"), ("Live", "adapter-dddddddddddddddd"),
        ("Candidate", "adapter-cccccccccccccccc"),
    ]  # fmt: skip
    assert [a.name for a in compared_arms(CANDIDATE, None, None)] == ["Base", "Candidate"]


def test_only_the_policy_arm_gets_the_policy() -> None:
    base, told, candidate = compared_arms(CANDIDATE, None, POLICY)
    question = row("a bucket")
    assert base.instruction(question) == candidate.instruction(question) == "Create a bucket"
    assert told.instruction(question) == (
        'Create a bucket Put the comment "# Made by us" directly above each resource. '
        'Tag each resource with created_by = "PiCloud" if it can have tags.'
    )


def test_policy_sentences_state_everything_but_packs() -> None:
    """Else the base is refused for what it was never told, and looks worse than it is."""
    policy = HousePolicy.model_validate(
        {
            "comment": "# Made by us ",
            "tags": {"created_by": "PiCloud", "note": 'a "b"'},
            "requiredTags": ["created_by", "owner", "team"],
            "deny": [
                {"name": "keys", "types": ["aws_iam_access_key", "aws_iam_user"], "message": "Use a role."},
                {"name": "public", "types": ["aws_db_*"], "argument": "publicly_accessible", "values": ["true"]},
                {"name": "open", "types": ["aws_security_group"], "argument": "ingress.cidr_blocks",
                 "values": ["0.0.0.0/0", "::/0"], "message": "Name the networks"},
                {"name": "data", "types": ["*"], "argument": "user_data"},
            ],
            "packs": [{"name": "cost", "configMap": {"name": "house", "key": "cost.rego"}}],
        }
    )  # fmt: skip
    assert policy_sentences(policy) == (
        'Put the comment "# Made by us" directly above each resource. '
        'Tag each resource with created_by = "PiCloud" if it can have tags. '
        'Tag each resource with note = "a \\"b\\"" if it can have tags. '
        "Tag each resource with owner, of any value, if it can have tags. "
        "Tag each resource with team, of any value, if it can have tags. "
        "Use no resource of type aws_iam_access_key or aws_iam_user. Use a role. "
        'Never give a resource of type aws_db_* the value "true" in publicly_accessible. '
        'Never give a resource of type aws_security_group the value "0.0.0.0/0" or "::/0" in ingress.cidr_blocks. '
        "Name the networks. "
        "Never give a resource of type * the argument user_data."
    )
    assert policy_sentences(HousePolicy()) == ""


def test_every_rate_is_over_all_rows() -> None:
    arm = Arm(ArmName.CANDIDATE, "x", CANDIDATE)
    passed = verdict(*GATE)
    scored = [
        ScoredAnswer(arm, row("a"), "A", raw=passed, served=passed),
        ScoredAnswer(arm, row("b"), "B", raw=verdict(*GATE[:3], failed=Stage.POLICY), served=passed),
        ScoredAnswer(arm, row("c"), "B", raw=verdict(Stage.PARSE, failed=Stage.VALIDATE, inconclusive=True),
               served=verdict(Stage.PARSE, failed=Stage.VALIDATE, inconclusive=True)),
        ScoredAnswer(arm, row("d"), "", truncated=True),
    ]  # fmt: skip
    result = count(arm.name, scored)
    assert {counts.rows for counts in result.counts.values()} == {4}
    raw = {name: counts.raw for name, counts in result.counts.items()}
    served = {name: counts.served for name, counts in result.counts.items()}
    assert raw == {"Parse": 3, "Validate": 2, "Plan": 2, "Policy": 1, "Intent": 1, "All": 1}
    assert served == {"Parse": 3, "Validate": 2, "Plan": 2, "Policy": 2, "Intent": 2, "All": 2}
    assert (result.rows, result.truncated, result.inconclusive, result.distinct_answers) == (4, 1, 1, 3)


def test_a_stage_is_over_the_rows_that_ask_for_it() -> None:
    """A suite that asks for less must not make a model look as if it failed."""
    arm, parsed, whole = Arm(ArmName.CANDIDATE, "x", CANDIDATE), verdict(Stage.PARSE), verdict(*GATE)
    scored = [ScoredAnswer(arm, row("a", Stage.PARSE), "A", raw=parsed, served=parsed)] * 3
    scored += [ScoredAnswer(arm, row("b"), "B", raw=whole, served=whole)]
    counts = count(arm.name, scored).counts
    assert (counts["Parse"], counts["Policy"], counts["All"]) == ((4, 4, 4), (1, 1, 1), (4, 4, 4))


def test_a_policy_lapse_is_a_served_answer_that_fails_stage_policy() -> None:
    """Whatever other rows and suites ask for: each is counted."""
    arm = Arm(ArmName.CANDIDATE, "x", CANDIDATE)
    served = [verdict(*GATE), verdict(*GATE[:3], failed=Stage.POLICY), verdict(Stage.PARSE, failed=Stage.VALIDATE)]
    served += [verdict(*GATE[:3], failed=Stage.POLICY, inconclusive=True)]
    scored = [ScoredAnswer(arm, row("a"), "A", raw=v, served=v) for v in served]
    scored += [ScoredAnswer(arm, row("b"), "", truncated=True)]
    scored += [ScoredAnswer(arm, row("c", Stage.PARSE), "A", raw=verdict(Stage.PARSE), served=verdict(Stage.PARSE))]
    assert count(arm.name, scored).policy_lapses == 2


def test_rows_of_one_cluster_increase_the_design_effect() -> None:
    def side(arm: ArmName, passed: bool) -> list[ScoredAnswer]:
        judged = verdict(Stage.PARSE) if passed else verdict(failed=Stage.PARSE)
        asked = [replace(row(str(i)), cluster=str(i // 5)) for i in range(20)]
        return [ScoredAnswer(Arm(arm, "m"), r, "x", raw=judged, served=judged) for r in asked]

    base, candidate = side(ArmName.BASE, False), side(ArmName.CANDIDATE, True)
    assert pair(base, candidate).design_effect == "5"
    alone = [[replace(s, row=replace(s.row, cluster="")) for s in side_] for side_ in (base, candidate)]
    assert pair(*alone).design_effect == "1"


def test_pairs_compare_raw_outcomes_row_by_row() -> None:
    good, bad = verdict(Stage.PARSE), verdict(failed=Stage.PARSE)

    def side(arm: ArmName, *outcomes: ProgramVerdict) -> list[ScoredAnswer]:
        return [ScoredAnswer(Arm(arm, "m"), row(str(i)), "x", raw=o, served=good) for i, o in enumerate(outcomes)]

    paired = pair(side(ArmName.LIVE, good, good, bad, bad, bad), side(ArmName.CANDIDATE, good, bad, good, good, bad))
    assert paired.reference == ArmName.LIVE
    assert (paired.both_passed, paired.candidate_only, paired.reference_only, paired.neither_passed) == (1, 2, 1, 1)


def test_the_largest_report_fits_a_termination_message() -> None:
    good = verdict(*Stage)
    compared = compared_arms(CANDIDATE, LIVE, POLICY, has_chat_template=True)
    by_arm = [
        [ScoredAnswer(arm, row(str(i), *Stage), "x", raw=good, served=good) for i in range(3)] for arm in compared
    ]
    drawn = [PassAtK(k=k, rate="0.1234", low="0.1234", high="0.1234") for k in (1, 5, 10)]
    many = dict.fromkeys(
        ("rows", "truncated", "inconclusive", "distinct_answers", "hallucinated", "policy_lapses"), 100_000
    )
    results = []
    for arm, scored in zip(compared, by_arm, strict=True):
        counted = count(arm.name, scored)
        counts = dict.fromkeys(counted.counts, Counts(100_000, 100_000, 100_000))
        drew = drawn if arm.name in sampled_arms(compared) else []
        results.append(counted.model_copy(update={**many, "counts": counts, "pass_at_k": drew}))
    outcomes = ("both_passed", "candidate_only", "reference_only", "neither_passed")
    paired = pair(by_arm[2], by_arm[3]).model_copy(
        update={**dict.fromkeys(outcomes, 25_000), "design_effect": "1234.5"}
    )
    gain = Gain(gained=100_000, lost=100_000, low="-0.1234", high="-0.1234")
    evaluated = EvaluateResult(
        selection=[CheckpointScore(step=1_000_000 + i, rows=100, passed=100) for i in range(3)],
        arms=results, paired=paired, live_digest=LIVE, suite_digest=LIVE, parity_max_difference="0.000123",
        toolchain="t" * MAX_CHARACTERS,
        reflexion=Reflexion(
            rows=100_000, gain=gain, over_best_of_n=gain,
            rounds=[ReflexionRound(round=i, passed=100_000, repaired=100_000, tokens=10**9) for i in range(3)],
            best_of_n=BestOfN(passed=100_000, answers=100_000, tokens=10**9),
        ),
    )  # fmt: skip
    report = StageReport(stage="evaluate", message="m" * 1000, evaluate=evaluated)
    assert len(report.encode()) <= TERMINATION_LIMIT


def test_a_suite_row_is_read_from_json() -> None:
    written = {
        "id": "a", "suite": "s", "instruction": "i", "input": "", "asked": None, "stages": ["Plan", "Intent"],
        "rego": "package x", "types": ["aws_vpc"], "difficulty": "3", "cluster": "7",
    }  # fmt: skip
    read = EvaluationRow.from_json(written)
    assert (read.stages, read.rego, read.types) == ((Stage.PLAN, Stage.INTENT), "package x", ("aws_vpc",))
    assert (read.difficulty, read.cluster) == ("3", "7")


def test_cluster_keys_are_per_suite_and_unique_without_a_cluster() -> None:
    def key(id_: str, suite: str, cluster: str) -> str:
        return EvaluationRow(id_, suite, "", "", None, (), cluster=cluster).cluster_key

    assert key("a", "one", "1") == key("b", "one", "1")
    assert (
        len({key("a", "one", "1"), key("a", "two", "1"), key("a", "one", ""), key("b", "one", ""), key("1", "", "")})
        == 5
    )


def test_hallucinated_counts_only_names_the_provider_lacks() -> None:
    arm = Arm(ArmName.CANDIDATE, "x", CANDIDATE)

    def answer(code: str) -> ScoredAnswer:
        found = StageResult(stage=Stage.VALIDATE, passed=False, diagnostics=[Diagnostic(code=code, message="m")])
        return ScoredAnswer(arm, row("a"), "A", raw=ProgramVerdict(id="1", passed=False, stages=[found]))

    codes = ("UnsupportedArgument", "InvalidResourceType", "MissingRequiredArgument", "SyntaxError")
    scored = [answer(code) for code in codes]
    assert [s.hallucinated for s in scored] == [True, True, False, False]
    assert count(arm.name, [*scored, ScoredAnswer(arm, row("b"), "", truncated=True)]).hallucinated == 2
