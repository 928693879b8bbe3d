"""Status of a FineTuneJob: what the operator says of a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from loraform_api.meta import (
    ApiModel,
    ArtifactUri,
    Condition,
    DecimalString,
    PromptTemplate,
    RateString,
    Sha256,
    SignedDecimalString,
    keyed_by,
)
from loraform_api.names import RunStage
from loraform_api.statistics import Pairs


class ConditionType(StrEnum):
    """Conditions of a FineTuneJob. The last two are present only when True."""

    READY = "Ready"
    SUCCEEDED = "Succeeded"
    DATASET_READY = "DatasetReady"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Metric(ApiModel):
    name: Annotated[str, Field(max_length=63, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
    value: Annotated[str, Field(max_length=32)]


class ProgressStatus(ApiModel):
    """Progress of the running stage, as its pod reported it."""

    percentage: Annotated[int, Field(ge=0, le=100)] = 0
    estimated_remaining_seconds: Annotated[int, Field(ge=0, le=2**53)] | None = None
    metrics: Annotated[
        list[Metric],
        Field(max_length=20, json_schema_extra=keyed_by("name")),
    ] = []
    """Latest values only, as text."""
    last_updated_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})] | None = None


class StageStatus(ApiModel):
    """A finished stage; never planned again."""

    name: RunStage
    start_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
    completion_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
    summary: Annotated[str, Field(max_length=512)] = ""
    """The stage's result in one line."""


class AttemptStatus(ApiModel):
    """A pod that did not finish its stage."""

    stage: RunStage
    pod: Annotated[str, Field(max_length=253)]
    reason: Annotated[str, Field(max_length=63)]
    """Failure class, for example `DatasetInvalid`, `OutOfMemory`, `SavedAndStopped`."""
    exit_code: Annotated[int, Field(ge=-1, le=255)] | None = None
    message: Annotated[str, Field(max_length=1024)] = ""
    hint: Annotated[str, Field(max_length=512)] = ""
    """What to do next."""
    resumed_from_step: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """Training step at which this pod began."""
    finish_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]


class FilterCount(ApiModel):
    name: Annotated[str, Field(max_length=63)]
    """`Read`, a filter such as `SyntaxError` or `Duplicate`, `Train` or `Validation`."""
    rows: Annotated[int, Field(ge=0, le=2**53)]


class DatasetStatus(ApiModel):
    digest: Sha256
    """Digest of the training and validation rows after all filters."""
    rows: Annotated[
        list[FilterCount],
        Field(max_length=32, json_schema_extra=keyed_by("name")),
    ]
    """Rows read, dropped by each filter, and kept."""
    tokens: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Tokens of the training rows, prompts and responses together."""
    warnings: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=5)] = []
    """What people should know of the rows though nothing was refused."""
    cached: bool = False
    """The rows were prepared by an earlier run and taken from the cache."""


class TrainingStatus(ApiModel):
    """What training came to."""

    steps: Annotated[int, Field(ge=0, le=2**53)]
    final_loss: DecimalString
    validation_loss: DecimalString | None = None
    trained_tokens: Annotated[int, Field(ge=0, le=2**53)]
    """Tokens of responses that were learnt, over all epochs."""
    tokens_per_second: DecimalString | None = None
    """Tokens, prompts included, by second of training."""
    flops_utilization: RateString | None = None
    """Share of the GPUs' peak that the model's arithmetic used, where the peak is known."""
    fill: RateString = "1"
    """Share of the packs' slots that hold a token."""
    stopped_early: bool = False
    """The validation loss had stopped falling."""


class Selection(ApiModel):
    """A checkpoint on the validation rows."""

    step: Annotated[int, Field(ge=0, le=2**53)]
    rows: Annotated[int, Field(ge=0, le=2**53)]
    passed: Annotated[int, Field(ge=0, le=2**53)]


class Forgetting(ApiModel):
    """What the adapter does to short general answers outside Terraform: change of the log-probability per token.

    Measured on what training took, before a choice among checkpoints."""

    mean_difference: SignedDecimalString
    """Adapter less base, mean over prompts, in nats; below 0 it makes good answers less likely."""
    low: SignedDecimalString
    """Lower end of the 95 % interval over prompts."""
    high: SignedDecimalString
    """Upper end of that interval."""
    prompts: Annotated[int, Field(ge=0, le=2**53)]


class ArmName(StrEnum):
    """What is measured. `BaseWithPolicy` is the base with the policy in the prompt and the rewriter behind it, asked in
    its own chat template where it has one."""

    BASE = "Base"
    BASE_WITH_POLICY = "BaseWithPolicy"
    LIVE = "Live"
    CANDIDATE = "Candidate"


class StageRate(ApiModel):
    stage: Annotated[str, Field(max_length=16)]
    """A verification stage, or `All` for rows that passed every one."""
    raw: RateString
    """Share of the rows whose suite asks for the stage (of all for `All`), as the model wrote them."""
    served: RateString
    """Share of the same rows after the house-policy rewrite."""


class PassAtK(ApiModel):
    """Chance that one of k drawn answers passes every stage, estimated without bias and averaged over prompts."""

    k: Annotated[int, Field(ge=1, le=20)]
    rate: RateString
    low: RateString
    """Lower end of the 95 % interval, by the variance between the suite's clusters."""
    high: RateString
    """Upper end of that interval."""


class ArmStatus(ApiModel):
    name: ArmName
    prompt_template: PromptTemplate = PromptTemplate.INSTRUCTION
    """How it was asked; `Chat` is for `BaseWithPolicy`, where the base model brings a chat template."""
    rows: Annotated[int, Field(ge=0, le=2**53)]
    rates: Annotated[
        list[StageRate],
        Field(max_length=16, json_schema_extra=keyed_by("stage")),
    ]
    truncated: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Answers that reached the longest length; they failed."""
    inconclusive: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Answers that a stage could not judge; they are not passed."""
    hallucination_rate: RateString | None = None
    """Share of all rows whose answer uses a resource type, block or argument that does not exist."""
    policy_lapses: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Rows whose answer reached Policy, and did not pass it as it would be served."""
    pass_at_k: Annotated[
        list[PassAtK],
        Field(max_length=3, json_schema_extra=keyed_by("k")),
    ] = []
    """Only where `evaluation.samplesPerPrompt` is above 1, for `Candidate` and what it is compared with."""


class Paired(ApiModel):
    """Raw outcomes of candidate and reference on the same rows."""

    reference: Literal["Base", "Live"]
    both_passed: Annotated[int, Field(ge=0, le=2**53)]
    candidate_only: Annotated[int, Field(ge=0, le=2**53)]
    reference_only: Annotated[int, Field(ge=0, le=2**53)]
    neither_passed: Annotated[int, Field(ge=0, le=2**53)]
    design_effect: DecimalString = "1"
    """How many times the variance of the difference is that of rows that have nothing in common: above 1 where rows of
    one `cluster` win and lose together."""

    @property
    def pairs(self) -> Pairs:
        """What the comparison is judged by."""
        gained, lost = self.candidate_only, self.reference_only
        rows = self.both_passed + gained + lost + self.neither_passed
        return Pairs(rows, gained, lost, float(self.design_effect))


class Gain(ApiModel):
    """Two ways to answer the same rows, by rows whose outcome differs."""

    gained: Annotated[int, Field(ge=0, le=2**53)]
    """Rows that only this way passed."""
    lost: Annotated[int, Field(ge=0, le=2**53)]
    """Rows that only the other way passed."""
    low: SignedDecimalString
    """Lower end of the difference of the rates: Tango's interval, each bound one-sided 95 %."""
    high: SignedDecimalString
    """Upper end of that interval."""


class ReflexionRound(ApiModel):
    """What is served after so many rounds of repair."""

    round: Annotated[int, Field(ge=0, le=2)]
    """0 is the first answer."""
    passed: Annotated[int, Field(ge=0, le=2**53)]
    """Rows whose best candidate so far passes every stage, as it would be served."""
    repaired: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Rows for which a repair was asked in this round."""
    tokens: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Tokens of this round, prompts and answers together."""


class BestOfN(ApiModel):
    """The same rows with drawn answers instead of repairs, until as many tokens were used."""

    passed: Annotated[int, Field(ge=0, le=2**53)]
    answers: Annotated[int, Field(ge=0, le=2**53)]
    """Answers that were drawn."""
    tokens: Annotated[int, Field(ge=0, le=2**53)]
    """Their tokens, prompts and answers together; the last answer to a row may go beyond what repairs used."""


class Reflexion(ApiModel):
    """What repairs are worth to the candidate, as served."""

    rows: Annotated[int, Field(ge=0, le=2**53)]
    rounds: Annotated[
        list[ReflexionRound],
        Field(max_length=3, json_schema_extra=keyed_by("round")),
    ]
    gain: Gain
    """The last round against the first answers."""
    best_of_n: BestOfN
    over_best_of_n: Gain
    """The last round against best-of-n."""


class EvaluationStatus(ApiModel):
    selection: Annotated[list[Selection], Field(max_length=3, json_schema_extra=keyed_by("step"))] = []
    """Checkpoints among which the candidate was chosen; empty where there was one."""
    arms: Annotated[
        list[ArmStatus],
        Field(max_length=4, json_schema_extra=keyed_by("name")),
    ]
    paired: Paired
    """The comparison that promotion reads."""
    live_digest: Sha256 | None = None
    """Adapter that was live when the run began and was measured as `Live`."""
    suite_digest: Sha256 | None = None
    """Digest of all suite rows: evaluations with one digest asked the same."""
    parity_max_difference: DecimalString
    """Largest difference of a token's log-probability between trainer and engine."""
    reflexion: Reflexion | None = None
    """Only where `evaluation.reflexionRounds` is above 0."""


class ArtifactStatus(ApiModel):
    uri: ArtifactUri
    digest: Sha256
    """Digest of the adapter's files, by which it is loaded and compared."""
    size_bytes: Annotated[int, Field(ge=0, le=2**53)]


class ImageStatus(ApiModel):
    name: Annotated[str, Field(max_length=63)]
    image: Annotated[str, Field(max_length=512)]


class ProvenanceStatus(ApiModel):
    """What this run was made with, fixed when it began."""

    run_config: Annotated[str, Field(max_length=253)]
    """Name of the immutable ConfigMap with everything the run was told."""
    images: Annotated[
        list[ImageStatus],
        Field(max_length=8, json_schema_extra=keyed_by("name")),
    ] = []
    base_digest: Sha256 | None = None
    template_hash: Sha256 | None = None
    toolchain: Annotated[str, Field(max_length=512)] = ""
    """Terraform and providers that judged."""


class FineTuneJobStatus(ApiModel):
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = 0
    conditions: Annotated[
        list[Condition],
        Field(max_length=8, json_schema_extra=keyed_by("type")),
    ] = []
    phase: Annotated[str, Field(max_length=32)] = ""
    """For people: Pending, Preparing, Training, Evaluating, Publishing, Succeeded or Failed."""
    progress: ProgressStatus | None = None
    stages: Annotated[
        list[StageStatus],
        Field(max_length=8, json_schema_extra=keyed_by("name")),
    ] = []
    attempts: Annotated[
        list[AttemptStatus],
        Field(max_length=30, json_schema_extra=keyed_by("pod")),
    ] = []
    """The latest pods that did not finish their stage."""
    dataset: DatasetStatus | None = None
    training: TrainingStatus | None = None
    forgetting: Forgetting | None = None
    evaluation: EvaluationStatus | None = None
    artifact: ArtifactStatus | None = None
    provenance: ProvenanceStatus | None = None
