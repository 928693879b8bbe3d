"""IaCModel: a long-lived, served model whose versions come from FineTuneJobs and must prove themselves."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from loraform_api.finetunejob import PlacementSpec
from loraform_api.meta import ApiModel, Condition, ObjectMeta, PvcUri, RateString, Sha256, keyed_by
from loraform_api.training import Method
from loraform_api.verification import HousePolicy, Stage


class Minimum(ApiModel):
    stage: Stage
    """A verification stage."""
    rate: RateString
    """Smallest raw rate of the candidate at that stage, over the rows whose suite asks for it, as text."""


class PromotionSpec(ApiModel):
    """When a candidate replaces what runs now. Only this decides."""

    minimums: Annotated[
        list[Minimum],
        Field(max_length=len(Stage), json_schema_extra=keyed_by("stage")),
    ] = [Minimum(stage=Stage.POLICY, rate="0.95")]
    """Absolute floors of the candidate's raw rates. After the rewrite every valid answer must conform."""
    min_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Fewest suite rows on which a decision may rest."""
    require_better_than_live: bool = True
    """Ask that the candidate be better than the live version (without one: than the base) at 95 % confidence.
    If false, it must only not be worse by more than `maxRegressionPoints`."""
    max_regression_points: Annotated[int, Field(ge=0, le=100)] = 5
    """Percentage points that the candidate may lose, at 95 % confidence, where `requireBetterThanLive` is false."""


class ServingLoRASpec(ApiModel):
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = 64
    """Largest adapter rank that the engine is started for."""


class ServingSpec(ApiModel):
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Engine pods; absent means 1 and leaves the number to an autoscaler that set it."""
    placement: PlacementSpec = PlacementSpec()
    """Where engine pods run."""
    lora: ServingLoRASpec = ServingLoRASpec()
    """Adapters."""


class IaCModelSpec(ApiModel):
    policy: HousePolicy | None = None
    """House policy of every answer and of every run for this model that sets none of its own."""
    promotion: PromotionSpec = PromotionSpec()
    """When a candidate goes live."""
    serving: ServingSpec = ServingSpec()
    """How the live version is served."""
    revision_history_limit: Annotated[int, Field(ge=1, le=100)] = 10
    """Versions kept as ControllerRevisions beside the live one."""


class ConditionType(StrEnum):
    """Conditions of an IaCModel. The last two are present only when True."""

    READY = "Ready"
    CANDIDATE_ACCEPTED = "CandidateAccepted"
    SERVING = "Serving"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Decision(StrEnum):
    """Why a candidate was accepted or refused."""

    ACCEPTED = "Accepted"
    TOO_FEW_ROWS = "TooFewRows"
    MINIMUMS_NOT_MET = "MinimumsNotMet"
    NOT_BETTER_THAN_LIVE = "NotBetterThanLive"
    LIVE_CHANGED = "LiveChanged"


class VersionStatus(ApiModel):
    """Summary of one version; the ControllerRevision holds it whole."""

    version: Annotated[int, Field(ge=1, le=2**53)]
    job: Annotated[str, Field(max_length=63)]
    digest: Sha256
    decision: Decision
    message: Annotated[str, Field(max_length=1024)] = ""
    """The decision in words, with the numbers."""
    suite_decisions: Annotated[int, Field(ge=1, le=2**53)] = 1
    """How many candidates for this model were decided on the same suite rows, this one included."""


class VersionRecord(ApiModel):
    """The data of a version's ControllerRevision: everything needed to serve it and to explain it. Never changed."""

    version: int
    job: str
    job_uid: str
    completion_time: str
    """When the run's last stage ended; candidates are decided in this order."""
    base_model_uri: PvcUri
    base_digest: Sha256
    template_hash: Sha256
    artifact_uri: PvcUri
    artifact_digest: Sha256
    rank: int
    method: Method = Method.LORA
    """How the base was held in training, and is held in serving."""
    decision: Decision
    message: str
    replaced_digest: Sha256 | None = None
    """Adapter that was live when the decision fell."""
    suite_digest: Sha256 | None = None
    """The suite rows on which it rests."""
    suite_decisions: int = 1
    """How many decisions for this model rested on the same rows, this one included."""


class IaCModelStatus(ApiModel):
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = 0
    conditions: Annotated[
        list[Condition],
        Field(max_length=8, json_schema_extra=keyed_by("type")),
    ] = []
    live_version: Annotated[int, Field(ge=1, le=2**53)] | None = None
    """Version that answers now."""
    url: Annotated[str, Field(max_length=512)] = ""
    """Address of the OpenAI-compatible endpoint inside the cluster."""
    replicas: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Engine pods that exist."""
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
    """An IaCModel serves the newest adapter that proved better than the one before, and says why others failed."""

    metadata: ObjectMeta
    spec: IaCModelSpec
    status: IaCModelStatus = IaCModelStatus()
