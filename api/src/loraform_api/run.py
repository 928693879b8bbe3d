"""The contract between operator and trainer: RunConfig in, StageReport and exit code out."""

from __future__ import annotations

import json
from typing import Annotated, NamedTuple

from pydantic import Field

from loraform_api.failures import ExitCode
from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.finetunejob_status import ArmName, Forgetting, Paired, PassAtK
from loraform_api.meta import ApiModel, DecimalString, PromptTemplate, RateString, Sha256, WireModel
from loraform_api.names import TERMINATION_LIMIT, RunStage
from loraform_api.reflexion import Reflexion
from loraform_api.training import NumberType
from loraform_api.verification import HousePolicy


class LiveAdapter(WireModel):
    """The live version when the run was rendered; `prepare` copies it from `/mnt/live`."""

    version: int
    digest: Sha256
    path: str
    """Folder of the artifact in its claim."""


class FluxArtifact(WireModel):
    """Artifact of a Flux source when the run was rendered."""

    url: str
    """URL of the archive at the source controller: plain http inside the cluster, checked by the digest."""
    digest: Sha256
    revision: str


class RunConfig(WireModel):
    """Configuration of a run's stages, rendered once into an immutable ConfigMap."""

    namespace: str
    name: str
    uid: str
    spec: FineTuneJobSpec
    policy: HousePolicy | None = None
    """House policy of the job or its IaCModel."""
    live: LiveAdapter | None = None
    images: dict[str, str]
    """Image references by container role: trainer, verifier, engine."""
    engine_dtype: NumberType
    """Number type of the engine, also of the base model in training."""
    flux: dict[str, FluxArtifact] = {}
    """Artifacts of Flux sources, by `<list>/<source name>` (`sources/rows`, `suites/held-out`)."""


class PrepareResult(WireModel):
    dataset_digest: Sha256
    rows: dict[str, int]
    """Rows by filter, in order: Read, each filter that dropped rows, Train, Validation."""
    base_digest: Sha256
    template_hash: Sha256
    suite_rows: int
    tokens: int = 0
    """Tokens of the training rows, prompts and responses together."""
    warnings: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=5)] = []
    """Warnings about the rows; they fail nothing."""
    cached: bool = False
    """Whether the rows came from the cache."""


class TrainResult(WireModel):
    steps: int
    resumed_from_step: int
    final_loss: str
    validation_loss: str | None = None
    trained_tokens: int
    adapter_digest: Sha256
    packs: int = 0
    """Number of packs of training rows."""
    fill: RateString = "1"
    """Share of the packs' positions that hold a token."""
    tokens_per_second: DecimalString | None = None
    """Trained tokens, prompts included, per second of this process' steps."""
    flops_utilization: RateString | None = None
    """Share of the GPUs' peak FLOPS that was used (MFU by 4N for LoRA), if the peak is known."""
    stopped_early: bool = False
    """Whether training ended early, because the validation loss had stopped falling."""
    forgetting: Forgetting | None = None


class Counts(NamedTuple):
    """Rows that passed a stage, raw and served, of those whose suite has it; encoded as a list to save bytes."""

    raw: int
    served: int
    rows: int


class ArmResult(WireModel):
    name: ArmName
    prompt_template: PromptTemplate | None = None
    """Absent for `Instruction`, to save bytes."""
    rows: int
    counts: dict[str, Counts]
    """By verification stage, and `All`."""
    truncated: int = 0
    inconclusive: int = 0
    distinct_answers: int = 0
    hallucinated: int = 0
    """Rows whose raw answer uses a type, block or argument that does not exist."""
    policy_lapses: int = 0
    """Rows whose served answer reached stage Policy and failed it."""
    pass_at_k: list[PassAtK] = []


class CheckpointScore(WireModel):
    """Result of a checkpoint on the selection rows, which are validation rows and never a suite's."""

    step: int
    rows: int
    passed: int


class EvaluateResult(WireModel):
    selection: list[CheckpointScore] = []
    """Checkpoints from which the candidate was chosen, by step; empty if there was only one."""
    arms: list[ArmResult]
    paired: Paired
    live_digest: Sha256 | None = None
    suite_digest: Sha256
    parity_max_difference: str
    toolchain: str
    reflexion: Reflexion | None = None


class PublishResult(WireModel):
    uri: str
    """URI of the artifact, in the scheme of `output.storageUri`."""
    digest: Sha256
    size_bytes: int


TRUNCATED_END = r" \u2026"
"""End of a truncated message, as JSON escapes it."""


class StageReport(WireModel):
    """Result of a stage: its termination message, and `reports/<stage>.json` in the workspace."""

    stage: RunStage
    exit_code: ExitCode = ExitCode.OK
    message: Annotated[str, Field(max_length=1024)] = ""
    """One line for people: the result, or the error and what is allowed."""
    resumed_from_step: int | None = None
    prepare: PrepareResult | None = None
    train: TrainResult | None = None
    evaluate: EvaluateResult | None = None
    publish: PublishResult | None = None

    def encode(self) -> str:
        """Return compact ASCII JSON of at most `TERMINATION_LIMIT` bytes; raises ValueError when it cannot fit."""
        text = self._dump()
        if (over := len(text) - TERMINATION_LIMIT) > 0:
            kept = self.message[: max(0, len(self.message) - over - len(TRUNCATED_END))]
            text = self.model_copy(update={"message": kept and f"{kept} …"})._dump()
        if len(text) > TERMINATION_LIMIT:
            raise ValueError(f"report of stage {self.stage} has {len(text)} bytes, more than {TERMINATION_LIMIT}")
        return text

    def _dump(self) -> str:
        return json.dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True), separators=(",", ":"))


class TrainerStatus(ApiModel):
    """Progress as defined by Kubeflow KEP-2779 (`trainerStatus` of the POST body)."""

    progress_percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    estimated_remaining_seconds: Annotated[int, Field(ge=0, le=2**53)] | None = None
    metrics: Annotated[list[dict[str, str]], Field(max_length=64)] = []
    """Entries `{"name", "value"}`; values are text."""
    last_updated_time: Annotated[str, Field(max_length=40)] = ""


class ProgressMessage(ApiModel):
    trainer_status: TrainerStatus
