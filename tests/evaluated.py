"""An evaluation as stage evaluate leaves it, made up: what the report's tests look at."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from loraform_api.evaluation import EvaluationReport, LossPoint
from loraform_api.finetunejob_status import ArmName
from loraform_api.reflexion import BestOfN, Gain, Reflexion, ReflexionRound
from loraform_api.run import EvaluateResult, RunConfig
from loraform_api.verification import Diagnostic, HousePolicy, ProgramVerdict, Stage, StageResult
from loraform_trainer.evaluate import arms, figures
from loraform_trainer.evaluate.arms import EvaluationRow, ScoredAnswer
from loraform_trainer.evaluate.generation import sampled_arms

CANDIDATE, LIVE = "c" * 64, "d" * 64
POLICY = HousePolicy(comment="# made by us", tags={"a": "b"})
ASKED = (Stage.PARSE, Stage.VALIDATE, Stage.INTENT)
HOSTILE = (
    "</code></pre><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=1">',
    "<svg/onload=alert(1)>\u202egnp.exe\u202c",
    "<!-- --><style>*{display:none}</style>\x00\x1b[31m",
    "${title} $sections $$ {{7*7}}",
    "<a href='javascript:alert(1)' id='rates'>x</a>",
)
"""What a model may answer to leave its place in the page."""

GAIN = Gain(gained=12, lost=1, low="0.0201", high="0.0712")
REFLEXION = Reflexion(
    rows=250,
    rounds=[
        ReflexionRound(round=0, passed=190),
        ReflexionRound(round=1, passed=199, repaired=40, tokens=31_000),
        ReflexionRound(round=2, passed=201, repaired=14, tokens=11_500),
    ],
    gain=GAIN,
    best_of_n=BestOfN(passed=197, answers=96, tokens=43_100),
    over_best_of_n=Gain(gained=6, lost=2, low="-0.0037", high="0.0389"),
)

PLAIN = 'resource "aws_s3_bucket" "b{0}" {{\n  bucket = "b{0}"\n}}\n'
BETTER = '# made by us\nresource "aws_s3_bucket" "b{0}" {{\n  bucket = "b{0}"\n\n  tags = {{\n    a = "b"\n  }}\n}}\n'


def verdict(failed: Stage | None, code: str = "UnsupportedArgument") -> ProgramVerdict:
    """A verdict of the stages in `ASKED`, up to the one that failed."""
    stages = []
    for stage in ASKED:
        if stage is failed:
            finding = Diagnostic(
                code=code, message="An argument named <b>x</b> is not expected here.", line=2, hint="Drop it."
            )
            stages.append(StageResult(stage=stage, passed=False, diagnostics=[finding]))
            break
        stages.append(StageResult(stage=stage, passed=True))
    return ProgramVerdict(id="x", passed=failed is None, stages=stages)


def rows(count: int, suites: Sequence[str] = ("held-out",)) -> list[EvaluationRow]:
    """Rows in clusters of two, of six difficulties, two types and all suites in turn."""
    types = (("aws_s3_bucket",), ("aws_vpc", "aws_subnet"))
    return [
        EvaluationRow(
            f"row-{i}",
            suites[i % len(suites)],
            f"Create a bucket b{i}.",
            "",
            None,
            ASKED,
            None,
            types[i % 2],
            str(i % 6 + 1),
            str(i // 2),
        )
        for i in range(count)
    ]


def answers(arm: arms.Arm, asked: list[EvaluationRow], share: float, seed: int, samples: int = 0) -> list[ScoredAnswer]:
    """One arm's answers; a share of about `share` passes. `samples` drawn ones a row instead of the greedy one."""
    generator, found = Random(seed), []
    for i, row in enumerate(asked):
        for sample in range(1, samples + 1) if samples else (0,):
            text = (BETTER if arm.name is ArmName.CANDIDATE else PLAIN).format(i)
            if i % 3 == 0:
                text += HOSTILE[i // 3 % len(HOSTILE)]
            judged = verdict(None if generator.random() < share else ASKED[generator.randrange(3)])
            truncated = not judged.passed and i % 11 == 0
            shown = None if truncated else judged
            found.append(ScoredAnswer(arm, row, text, truncated, shown, shown, sample))
    return found


def config(samples: int = 10, policy: HousePolicy | None = None) -> RunConfig:
    """A run's config."""
    source = {"name": "rows", "configMap": {"name": "rows", "key": "rows.jsonl"}}
    spec = {
        "baseModel": {"storageUri": "pvc://models/tiny"},
        "dataset": {"sources": [source]},
        "evaluation": {"suites": [source], "samplesPerPrompt": samples},
        "output": {"storageUri": "pvc://artifacts/adapters"},
    }
    return RunConfig.model_validate(
        {
            "namespace": "team-a", "name": "style", "uid": "1234", "spec": spec, "images": {}, "engineDtype": "float32",
            "policy": policy,
        }
    )  # fmt: skip


def evaluated(
    count: int = 250,
    live: str | None = None,
    samples: int = 10,
    shares: tuple[float, float] = (0.55, 0.75),
    policy: HousePolicy | None = None,
    suites: Sequence[str] = ("held-out",),
) -> tuple[EvaluationReport, dict[ArmName, list[ScoredAnswer]]]:
    """A report and the greedy answers behind it; `shares` pass of reference and candidate."""
    asked, compared = rows(count, suites), arms.compared_arms(CANDIDATE, live, policy)
    share = {arm.name: shares[arm.name is ArmName.CANDIDATE] for arm in compared}
    greedy = {arm.name: answers(arm, asked, share[arm.name], seed) for seed, arm in enumerate(compared)}
    drawn = {
        arm.name: answers(arm, asked, share[arm.name], 100 + seed, samples) if samples > 1 else []
        for seed, arm in enumerate(compared)
        if arm.name in sampled_arms(compared)
    }
    reference = ArmName.LIVE if live else ArmName.BASE
    result = EvaluateResult(
        arms=[arms.count(name, scored) for name, scored in greedy.items()],
        paired=arms.pair(greedy[reference], greedy[ArmName.CANDIDATE]),
        live_digest=live,
        suite_digest="e" * 64,
        parity_max_difference="0.0021",
        toolchain="terraform 1.11.4, hashicorp/aws 5.100.0",
        reflexion=REFLEXION,
    )
    loss = [LossPoint(step=i * 10, loss=2.5 / (1 + i / 4) + 0.05, learning_rate=2e-4) for i in range(1, 40)]
    loss += [LossPoint(step=step, eval_loss=0.2 + 43 / step) for step in (130, 260, 390)]
    return figures.report(config(samples, policy), result, greedy, drawn, loss), greedy
