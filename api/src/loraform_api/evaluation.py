"""`reports/evaluation.json`: all figures of an evaluation, published beside the adapter and shown by its page."""

from __future__ import annotations

from loraform_api.finetunejob_status import ArmName, Forgetting
from loraform_api.meta import PromptTemplate, Sha256, WireModel
from loraform_api.reflexion import Reflexion
from loraform_api.run import CheckpointScore


class Rate(WireModel):
    """A share of rows with its 95 % Wilson interval, corrected for clusters."""

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
    """Unbiased estimate of pass@k from `samplesPerPrompt` answers; 95 % interval from the variance between clusters."""

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
    """Raw results of candidate and reference on the same rows; Tango's interval, each bound one-sided 95 %."""

    reference: ArmName
    both_passed: int
    gained: int
    lost: int
    neither_passed: int
    difference: float
    low: float
    high: float
    design_effect: float
    """Ratio of the variance to that of independent rows; the interval includes it."""
    smallest_visible_difference: float
    """The smallest net gain that would have counted as better, with the same number of rows lost."""
    gained_rows: list[str]
    """At most 200 ids; all are in `evaluation/rows.jsonl`."""
    lost_rows: list[str]


class EvaluationGroup(WireModel):
    """A group of rows with each arm's rate: raw, all stages."""

    name: str
    rates: dict[ArmName, Rate]


class LossPoint(WireModel):
    """One line of `reports/training.jsonl`."""

    step: int
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    """Norm before clipping to 1."""
    tokens: int | None = None
    """Tokens trained so far, prompts included."""
    tokens_per_second: float | None = None
    """Rate since the point before, without the time for checkpoints and validation."""


class EvaluationReport(WireModel):
    namespace: str
    name: str
    uid: str
    verdict: str
    """The comparison in one line; the promotion decision is the IaCModel's."""
    rows: int
    samples_per_prompt: int
    temperature: str
    house_policy: bool
    """Whether a house policy rewrites the served text; without one `served` equals `raw`."""
    arms: list[ArmFigures]
    paired: PairedFigures
    by_suite: list[EvaluationGroup]
    by_difficulty: list[EvaluationGroup]
    by_type: list[EvaluationGroup]
    """By requested resource type; a row counts in each of its types."""
    types_left_out: int = 0
    """Number of types with fewer rows, which are not listed."""
    selection: list[CheckpointScore] = []
    """Checkpoints from which the candidate was chosen, by step."""
    loss: list[LossPoint] = []
    forgetting: Forgetting | None = None
    reflexion: Reflexion | None = None
    parity_max_difference: str
    toolchain: str
