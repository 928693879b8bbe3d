"""Status of a FineTuneJob."""

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
from loraform_api.reflexion import Reflexion
from loraform_api.statistics import Pairs
from loraform_api.training import NumberType


class ConditionType(StrEnum):
    """Condition types of a FineTuneJob. The last two are present only when True."""

    READY = "Ready"
    SUCCEEDED = "Succeeded"
    DATASET_READY = "DatasetReady"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Metric(ApiModel):
    name: Annotated[str, Field(max_length=63, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
    value: Annotated[str, Field(max_length=32)]


class ProgressStatus(ApiModel):
    """Progress of the running stage, as reported by its pod."""

    percentage: Annotated[int, Field(ge=0, le=100)] = 0
    estimated_remaining_seconds: Annotated[int, Field(ge=0, le=2**53)] | None = None
    metrics: Annotated[
        list[Metric],
        Field(max_length=20, json_schema_extra=keyed_by("name")),
    ] = []
    """Latest values only, as text."""
    last_updated_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})] | None = None


class StageStatus(ApiModel):
    """A finished stage; it never runs again."""

    name: RunStage
    start_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
    completion_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
    summary: Annotated[str, Field(max_length=512)] = ""
    """Result of the stage in one line."""


class AttemptStatus(ApiModel):
    """A pod that did not finish its stage."""

    stage: RunStage
    pod: Annotated[str, Field(max_length=253)]
    reason: Annotated[str, Field(max_length=63)]
    """Failure class, for example `DatasetInvalid`, `OutOfMemory`, `SavedAndStopped`."""
    exit_code: Annotated[int, Field(ge=-1, le=255)] | None = None
    message: Annotated[str, Field(max_length=1024)] = ""
    hint: Annotated[str, Field(max_length=512)] = ""
    """What to do."""
    resumed_from_step: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """Training step from which this pod resumed."""
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
    """Warnings about the rows; they fail nothing."""
    cached: bool = False
    """Whether the rows came from the cache."""


class TrainingStatus(ApiModel):
    """Results of training."""

    steps: Annotated[int, Field(ge=0, le=2**53)]
    final_loss: DecimalString
    validation_loss: DecimalString | None = None
    trained_tokens: Annotated[int, Field(ge=0, le=2**53)]
    """Response tokens trained on, over all epochs."""
    tokens_per_second: DecimalString | None = None
    """Tokens per second of training, prompts included."""
    flops_utilization: RateString | None = None
    """Share of the GPUs' peak FLOPS that was used, if the peak is known."""
    fill: RateString = "1"
    """Share of the packs' positions that hold a token."""
    stopped_early: bool = False
    """Whether training ended early, because the validation loss had stopped falling."""


class Selection(ApiModel):
    """Result of a checkpoint on the validation rows."""

    step: Annotated[int, Field(ge=0, le=2**53)]
    rows: Annotated[int, Field(ge=0, le=2**53)]
    passed: Annotated[int, Field(ge=0, le=2**53)]


class Forgetting(ApiModel):
    """Effect of the adapter on short general answers outside Terraform: change of the log-probability per token.

    It is measured at the end of training, before a checkpoint is chosen."""

    mean_difference: SignedDecimalString
    """Adapter minus base, mean over prompts, in nats; below 0 the adapter makes good answers less likely."""
    low: SignedDecimalString
    """Lower end of the 95 % interval over prompts."""
    high: SignedDecimalString
    """Upper end of that interval."""
    prompts: Annotated[int, Field(ge=0, le=2**53)]


class ArmName(StrEnum):
    """A model in the evaluation. `BaseWithPolicy` is the base with the policy in its prompt and the rewriter behind it;
    its prompt has the base model's chat template if there is one."""

    BASE = "Base"
    BASE_WITH_POLICY = "BaseWithPolicy"
    LIVE = "Live"
    CANDIDATE = "Candidate"


class StageRate(ApiModel):
    stage: Annotated[str, Field(max_length=16)]
    """A verification stage, or `All` for rows that passed every stage."""
    raw: RateString
    """Share of rows that passed as the model wrote them, of those whose suite has the stage (`All`: of all rows)."""
    served: RateString
    """Share of the same rows that passed after the house-policy rewrite."""


class PassAtK(ApiModel):
    """Probability that one of k sampled answers passes every stage; unbiased estimate, mean over prompts."""

    k: Annotated[int, Field(ge=1, le=20)]
    rate: RateString
    low: RateString
    """Lower end of the 95 % interval, from the variance between clusters."""
    high: RateString
    """Upper end of that interval."""


class ArmStatus(ApiModel):
    name: ArmName
    prompt_template: PromptTemplate = PromptTemplate.INSTRUCTION
    """Prompt template; `Chat` only for `BaseWithPolicy`, if the base model has a chat template."""
    rows: Annotated[int, Field(ge=0, le=2**53)]
    rates: Annotated[
        list[StageRate],
        Field(max_length=16, json_schema_extra=keyed_by("stage")),
    ]
    truncated: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Answers that reached `maxNewTokens`; they failed."""
    inconclusive: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Answers for which a stage was inconclusive; they failed."""
    hallucination_rate: RateString | None = None
    """Share of all rows whose answer uses a resource type, block or argument that does not exist."""
    policy_lapses: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Rows whose served answer reached stage Policy and failed it."""
    pass_at_k: Annotated[
        list[PassAtK],
        Field(max_length=3, json_schema_extra=keyed_by("k")),
    ] = []
    """Only if `evaluation.samplesPerPrompt` is above 1, for `Candidate` and its reference."""


class Paired(ApiModel):
    """Raw results of candidate and reference on the same rows."""

    reference: Literal["Base", "Live"]
    both_passed: Annotated[int, Field(ge=0, le=2**53)]
    candidate_only: Annotated[int, Field(ge=0, le=2**53)]
    reference_only: Annotated[int, Field(ge=0, le=2**53)]
    neither_passed: Annotated[int, Field(ge=0, le=2**53)]
    design_effect: DecimalString = "1"
    """Ratio of the difference's variance to that of independent rows: above 1 if rows of one `cluster` pass or fail
    together."""

    @property
    def pairs(self) -> Pairs:
        """The counts that the comparison is based on."""
        gained, lost = self.candidate_only, self.reference_only
        rows = self.both_passed + gained + lost + self.neither_passed
        return Pairs(rows, gained, lost, float(self.design_effect))


class EvaluationStatus(ApiModel):
    selection: Annotated[list[Selection], Field(max_length=3, json_schema_extra=keyed_by("step"))] = []
    """Checkpoints from which the candidate was chosen; empty if there was only one."""
    arms: Annotated[
        list[ArmStatus],
        Field(max_length=4, json_schema_extra=keyed_by("name")),
    ]
    paired: Paired
    """The comparison that decides promotion."""
    live_digest: Sha256 | None = None
    """Digest of the adapter that was live when the run began, evaluated as `Live`."""
    suite_digest: Sha256 | None = None
    """Digest of all suite rows; evaluations with the same digest used the same rows."""
    parity_max_difference: DecimalString
    """Largest difference of a token's log-probability between trainer and engine."""
    reflexion: Reflexion | None = None
    """Only if `evaluation.reflexionRounds` is above 0."""


class ArtifactStatus(ApiModel):
    uri: ArtifactUri
    digest: Sha256
    """Digest of the adapter's files, which identifies it."""
    size_bytes: Annotated[int, Field(ge=0, le=2**53)]


class ImageStatus(ApiModel):
    name: Annotated[str, Field(max_length=63)]
    image: Annotated[str, Field(max_length=512)]


class ProvenanceStatus(ApiModel):
    """Inputs of this run, fixed when it began."""

    run_config: Annotated[str, Field(max_length=253)]
    """Name of the immutable ConfigMap with the run's configuration."""
    images: Annotated[
        list[ImageStatus],
        Field(max_length=8, json_schema_extra=keyed_by("name")),
    ] = []
    engine_dtype: NumberType | None = None
    """Number type of the engine and of the base model in training."""
    base_digest: Sha256 | None = None
    template_hash: Sha256 | None = None
    toolchain: Annotated[str, Field(max_length=512)] = ""
    """Versions of Terraform and providers that verified the answers."""


class FineTuneJobStatus(ApiModel):
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = 0
    conditions: Annotated[
        list[Condition],
        Field(max_length=8, json_schema_extra=keyed_by("type")),
    ] = []
    phase: Annotated[str, Field(max_length=32)] = ""
    """For display: Pending, Preparing, Training, Evaluating, Publishing, Succeeded or Failed."""
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
