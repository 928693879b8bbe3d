"""IaCModel: a served model whose versions come from FineTuneJobs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from loraform_api.finetunejob import PlacementSpec
from loraform_api.heartbeat import Authentication
from loraform_api.meta import (
    ApiModel,
    Condition,
    LocalReference,
    ObjectMeta,
    PvcUri,
    RateString,
    Sha256,
    keyed_by,
    rule,
)
from loraform_api.training import Method, NumberType
from loraform_api.verification import HousePolicy, Stage


class Minimum(ApiModel):
    stage: Stage
    """A verification stage."""
    rate: RateString
    """Smallest raw rate of the candidate at that stage, over the rows whose suite has it, as text."""


class PromotionSpec(ApiModel):
    """Rules by which a candidate replaces the live version."""

    minimums: Annotated[
        list[Minimum],
        Field(max_length=len(Stage), json_schema_extra=keyed_by("stage")),
    ] = [Minimum(stage=Stage.POLICY, rate="0.95")]
    """Smallest raw rates of the candidate. After the rewrite every valid answer must conform to the policy."""
    min_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Fewest suite rows for a decision."""
    require_better_than_live: bool = True
    """Whether the candidate must be better than the live version (without one: than the base) at 95 % confidence.
    If false, it may be worse by at most `maxRegressionPoints`."""
    max_regression_points: Annotated[int, Field(ge=0, le=100)] = 5
    """Percentage points that the candidate may lose, at 95 % confidence, if `requireBetterThanLive` is false."""


class ServingLoRASpec(ApiModel):
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = 64
    """Largest adapter rank of the engine, for this model's runs too; the profile's `maxLoraRank` may be lower."""


class ServingTLSSpec(ApiModel):
    secret_ref: LocalReference
    """Secret of type `kubernetes.io/tls`: its keys `tls.crt` and `tls.key` are read, again when they change."""


Origin = Annotated[str, Field(max_length=256, pattern=r"^(\*|[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:[0-9]{1,5})?)$")]
"""Scheme, host and port, as a browser sends them in `Origin`; `*` for all."""


class ServingCORSSpec(ApiModel):
    allowed_origins: Annotated[
        list[Origin],
        Field(
            min_length=1,
            max_length=32,
            json_schema_extra={
                "x-kubernetes-list-type": "set",
                "x-kubernetes-validations": [
                    rule("!('*' in self) || self.size() == 1", "'*' allows all origins: it must be the only entry")
                ],
            },
        ),
    ]
    """Origins of the web pages that may ask, for example `https://chat.example.org`; `*` for all."""


class ServingLimitsSpec(ApiModel):
    """Limits of each API key at one gateway; without keys, of all callers together."""

    requests_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Most requests that are answered at the same time; the next one gets 429."""
    tokens_in_flight: Annotated[int, Field(ge=1, le=2**31 - 1)] = 262_144
    """Most tokens of these requests: those of their prompts, and the most that their answers may have. A request that
    is alone is always answered."""


class ServingSpec(ApiModel):
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Number of engine pods; absent: 1, or the number that an autoscaler has set."""
    placement: PlacementSpec = PlacementSpec()
    """Where engine pods run. Runs for this model must name the same profile."""
    lora: ServingLoRASpec = ServingLoRASpec()
    """Adapter settings of the engine."""
    api_key_secret_ref: LocalReference | None = None
    """Secret whose key `api-keys` has a line `name:sha256` for each API key; absent: everyone who reaches the Service
    may ask."""
    tls: ServingTLSSpec | None = None
    """Certificate of the endpoint; absent: it speaks plain HTTP."""
    cors: ServingCORSSpec | None = None
    """Web pages of other origins that may ask; absent: none."""
    limits: ServingLimitsSpec = ServingLimitsSpec()
    """How much one caller may ask at a time."""


class IaCModelSpec(ApiModel):
    policy: HousePolicy | None = None
    """House policy of every answer, and of every run for this model without a policy of its own."""
    promotion: PromotionSpec = PromotionSpec()
    """Rules of promotion."""
    serving: ServingSpec = ServingSpec()
    """Serving of the live version."""
    revision_history_limit: Annotated[int, Field(ge=1, le=100)] = 10
    """Number of versions kept as ControllerRevisions besides the live one."""


class ConditionType(StrEnum):
    """Condition types of an IaCModel. The last two are present only when True."""

    READY = "Ready"
    CANDIDATE_ACCEPTED = "CandidateAccepted"
    SERVING = "Serving"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Decision(StrEnum):
    """Reason for which a candidate was accepted or refused."""

    ACCEPTED = "Accepted"
    TOO_FEW_ROWS = "TooFewRows"
    MINIMUMS_NOT_MET = "MinimumsNotMet"
    NOT_BETTER_THAN_LIVE = "NotBetterThanLive"
    LIVE_CHANGED = "LiveChanged"


class VersionStatus(ApiModel):
    """Summary of one version; its ControllerRevision has all data."""

    version: Annotated[int, Field(ge=1, le=2**53)]
    job: Annotated[str, Field(max_length=63)]
    digest: Sha256
    decision: Decision
    message: Annotated[str, Field(max_length=1024)] = ""
    """The decision with its figures."""
    suite_decisions: Annotated[int, Field(ge=1, le=2**53)] = 1
    """Number of candidates for this model decided on the same suite rows, this one included."""


class VersionRecord(ApiModel):
    """Data of a version's ControllerRevision, which never changes: what serving it and explaining it needs."""

    version: int
    job: str
    job_uid: str
    completion_time: str
    """Time at which the run's last stage ended; candidates are decided in this order."""
    base_model_uri: PvcUri
    base_digest: Sha256
    template_hash: Sha256
    artifact_uri: PvcUri
    artifact_digest: Sha256
    rank: int
    method: Method = Method.LORA
    """Number format of the base model in training and serving."""
    engine_dtype: NumberType
    """Number type of the engine that measured it, and of the base model in training."""
    max_new_tokens: int
    """Most tokens of an answer in the evaluation; an answer's default limit is the same."""
    decision: Decision
    message: str
    replaced_digest: Sha256 | None = None
    """Digest of the adapter that was live at the decision."""
    suite_digest: Sha256 | None = None
    """Digest of the suite rows of the evaluation."""
    suite_decisions: int = 1
    """Number of decisions for this model on the same suite rows, this one included."""


class EndpointStatus(ApiModel):
    url: Annotated[str, Field(max_length=512)]
    """Address of the OpenAI-compatible endpoint inside the cluster."""
    authentication: Authentication
    """What it demands of callers: `Open` as long as one gateway pod still does."""


class IaCModelStatus(ApiModel):
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = 0
    conditions: Annotated[
        list[Condition],
        Field(max_length=8, json_schema_extra=keyed_by("type")),
    ] = []
    live_version: Annotated[int, Field(ge=1, le=2**53)] | None = None
    """Version that answers."""
    endpoint: EndpointStatus | None = None
    """The OpenAI-compatible endpoint; absent until a version was accepted."""
    replicas: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Number of engine pods."""
    selector: Annotated[str, Field(max_length=512)] = ""
    """Label selector of the engine pods, for autoscalers."""
    versions: Annotated[
        list[VersionStatus],
        Field(
            max_length=101,
            json_schema_extra=keyed_by("version"),
        ),
    ] = []
    """Latest versions, newest first."""


class IaCModel(ApiModel):
    """An IaCModel serves the newest adapter that its promotion rules accepted, and records why others were refused."""

    metadata: ObjectMeta
    spec: IaCModelSpec
    status: IaCModelStatus = IaCModelStatus()
