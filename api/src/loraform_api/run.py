"""The run contract: what a stage pod is told (RunConfig) and what it answers (StageReport, ExitCode)."""

from __future__ import annotations

import json
from typing import Annotated, NamedTuple

from pydantic import Field

from loraform_api.failures import ExitCode
from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.finetunejob_status import ArmName, Forgetting, Paired, PassAtK, Reflexion
from loraform_api.meta import ApiModel, DecimalString, PromptTemplate, RateString, Sha256, WireModel
from loraform_api.names import TERMINATION_LIMIT, RunStage
from loraform_api.verification import HousePolicy


class LiveAdapter(WireModel):
    """The live version when the run was rendered; `prepare` stages it from `/mnt/live`."""

    version: int
    digest: Sha256
    path: str
    """Folder of the artifact inside its claim."""


class FluxArtifact(WireModel):
    """What a Flux source offered when the run was rendered."""

    url: str
    """Where the source controller serves the archive: inside the cluster, plain http, fixed by the digest."""
    digest: Sha256
    revision: str


class RunConfig(WireModel):
    """Everything a run's stages are told; rendered once into an immutable ConfigMap."""

    namespace: str
    name: str
    uid: str
    spec: FineTuneJobSpec
    policy: HousePolicy | None = None
    """The policy in force: the job's or its IaCModel's."""
    live: LiveAdapter | None = None
    images: dict[str, str]
    """Image references by container role: trainer, verifier, engine."""
    engine_dtype: str
    """Number type of the engine (`float32`, `bfloat16`); the trainer loads the base in it."""
    max_lora_rank: int
    """Largest rank the engine serves; `prepare` refuses more."""
    engine_nf4: bool = False
    """The engine can hold the base in 4 bits; without it `prepare` refuses QLoRA."""
    flux: dict[str, FluxArtifact] = {}
    """Artifacts of Flux sources, by `<list>/<source name>` (`sources/rows`, `suites/held-out`)."""


class PrepareResult(WireModel):
    dataset_digest: Sha256
    rows: dict[str, int]
    """Rows by filter in order: Read, one entry for each filter that dropped some, Train, Validation."""
    base_digest: Sha256
    template_hash: Sha256
    suite_rows: int
    tokens: int = 0
    """Tokens of the training rows, prompts and responses together."""
    warnings: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=5)] = []
    """What people should know of the rows though nothing was refused."""
    cached: bool = False
    """The rows were prepared by an earlier run and taken from the cache."""


class TrainResult(WireModel):
    steps: int
    resumed_from_step: int
    final_loss: str
    validation_loss: str | None = None
    trained_tokens: int
    adapter_digest: Sha256
    packs: int = 0
    """Packs that the training rows fill."""
    fill: RateString = "1"
    """Share of the packs' slots that hold a token."""
    tokens_per_second: DecimalString | None = None
    """Trained tokens, prompts included, by the seconds of this process' steps."""
    flops_utilization: RateString | None = None
    """Share of the GPUs' peak that the model's arithmetic used (MFU by 4N for LoRA), where the peak is known."""
    stopped_early: bool = False
    """The validation loss had stopped falling."""
    forgetting: Forgetting | None = None


class Counts(NamedTuple):
    """Rows that passed a stage, raw and served, of those whose suite asks for it; written as a list, for its size."""

    raw: int
    served: int
    rows: int


class ArmResult(WireModel):
    name: ArmName
    prompt_template: PromptTemplate | None = None
    """Absent: `Instruction`, to spare the bytes."""
    rows: int
    counts: dict[str, Counts]
    """By verification stage, and `All`."""
    truncated: int = 0
    inconclusive: int = 0
    distinct_answers: int = 0
    hallucinated: int = 0
    """Rows whose raw answer uses what does not exist."""
    policy_lapses: int = 0
    """Rows whose answer reached Policy, and did not pass it as served."""
    pass_at_k: list[PassAtK] = []


class CheckpointScore(WireModel):
    """A checkpoint on the selection rows (the training data's validation rows, never a suite's)."""

    step: int
    rows: int
    passed: int


class EvaluateResult(WireModel):
    selection: list[CheckpointScore] = []
    """Checkpoints among which the candidate was chosen, by step; empty where there was one."""
    arms: list[ArmResult]
    paired: Paired
    live_digest: Sha256 | None = None
    suite_digest: Sha256
    parity_max_difference: str
    toolchain: str
    reflexion: Reflexion | None = None


class PublishResult(WireModel):
    uri: str
    """Where the artifact lies, in the scheme of `output.storageUri`."""
    digest: Sha256
    size_bytes: int


CUT_IN_JSON = r" \u2026"
"""What a message that was cut ends in."""


class StageReport(WireModel):
    """What a stage leaves behind: its termination message and `reports/<stage>.json` in the workspace."""

    stage: RunStage
    exit_code: ExitCode = ExitCode.OK
    message: Annotated[str, Field(max_length=1024)] = ""
    """One line for people: the result, or what was wrong and what is allowed."""
    resumed_from_step: int | None = None
    prepare: PrepareResult | None = None
    train: TrainResult | None = None
    evaluate: EvaluateResult | None = None
    publish: PublishResult | None = None

    def encode(self) -> str:
        """Return the termination message: compact ASCII JSON of at most `TERMINATION_LIMIT` bytes."""
        text = self._dump()
        if (over := len(text) - TERMINATION_LIMIT) > 0:
            kept = self.message[: max(0, len(self.message) - over - len(CUT_IN_JSON))]
            text = self.model_copy(update={"message": kept and f"{kept} …"})._dump()
        if len(text) > TERMINATION_LIMIT:
            raise ValueError(f"report of stage {self.stage} has {len(text)} bytes, more than {TERMINATION_LIMIT}")
        return text

    def _dump(self) -> str:
        return json.dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True), separators=(",", ":"))


class TrainerStatus(ApiModel):
    """Progress as Kubeflow KEP-2779 defines it (`trainerStatus` of the POST body)."""

    progress_percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    estimated_remaining_seconds: Annotated[int, Field(ge=0, le=2**53)] | None = None
    metrics: Annotated[list[dict[str, str]], Field(max_length=64)] = []
    """Entries `{"name", "value"}`, values as text."""
    last_updated_time: Annotated[str, Field(max_length=40)] = ""


class ProgressMessage(ApiModel):
    trainer_status: TrainerStatus
