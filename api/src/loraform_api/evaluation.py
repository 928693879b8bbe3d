"""`reports/evaluation.json`: every figure of an evaluation. Published beside the adapter; the page shows the same."""

from __future__ import annotations

from loraform_api.finetunejob_status import ArmName, Forgetting, Reflexion
from loraform_api.meta import PromptTemplate, Sha256, WireModel
from loraform_api.run import CheckpointScore


class Rate(WireModel):
    """A share of rows, with its 95 % Wilson interval; rows of one cluster that agree count as one."""

    passed: int
    rows: int
    rate: float
    low: float
    high: float


class StageFigures(WireModel):
    stage: str
    """A verification stage, or `All`."""
    raw: Rate
    served: Rate


class PassAtKFigures(WireModel):
    """Unbiased estimate from `samplesPerPrompt` drawn answers a prompt; 95 % interval by the variance of clusters."""

    k: int
    rate: float
    low: float
    high: float
    prompts: int
    clusters: int


class ArmFigures(WireModel):
    name: ArmName
    prompt_template: PromptTemplate = PromptTemplate.INSTRUCTION
    adapter_digest: Sha256 | None = None
    stages: list[StageFigures]
    truncated: Rate
    inconclusive: Rate
    hallucinated: Rate
    distinct_answers: int
    pass_at_k: list[PassAtKFigures] = []


class PairedFigures(WireModel):
    """Raw outcomes of candidate and reference on the same rows; Tango's interval, each bound one-sided 95 %."""

    reference: ArmName
    both_passed: int
    gained: int
    lost: int
    neither_passed: int
    difference: float
    low: float
    high: float
    design_effect: float
    """How many times the variance is that of rows that have nothing in common; the interval takes it in."""
    smallest_visible_difference: float
    """The smallest net gain that would have counted as better, with as many rows lost."""
    gained_rows: list[str]
    """Ids, at most 200; all of them are in `evaluation/rows.jsonl`."""
    lost_rows: list[str]


class EvaluationGroup(WireModel):
    """Rows that have something in common, and what each arm made of them: raw, all stages."""

    name: str
    rates: dict[ArmName, Rate]


class LossPoint(WireModel):
    """One line of `reports/training.jsonl`."""

    step: int
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    """Before it is clipped to 1."""
    tokens: int | None = None
    """Tokens trained up to here, prompts included."""
    tokens_per_second: float | None = None
    """Since the point before, without the time that checkpoints and validation take."""


class EvaluationReport(WireModel):
    namespace: str
    name: str
    uid: str
    verdict: str
    """The comparison in one line. It is not the promotion decision, which is the IaCModel's."""
    rows: int
    samples_per_prompt: int
    temperature: str
    house_policy: bool
    """One is in force: what is served is rewritten by it. Without one `served` is `raw`."""
    arms: list[ArmFigures]
    paired: PairedFigures
    by_suite: list[EvaluationGroup]
    by_difficulty: list[EvaluationGroup]
    by_type: list[EvaluationGroup]
    """By resource type that the row asks for; a row counts in each of its types."""
    types_left_out: int = 0
    """Types with fewer rows than those listed."""
    selection: list[CheckpointScore] = []
    """Checkpoints among which the candidate was chosen, by step."""
    loss: list[LossPoint] = []
    forgetting: Forgetting | None = None
    reflexion: Reflexion | None = None
    parity_max_difference: str
    toolchain: str
