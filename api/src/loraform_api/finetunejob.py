"""FineTuneJob: one bounded run from data to a measured, published adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from loraform_api.dataset import DatasetSpec
from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_api.meta import (
    ApiModel,
    ArtifactUri,
    ModelUri,
    Name,
    ObjectMeta,
    ObjectName,
    keyed_by,
    rule,
)
from loraform_api.names import RunStage
from loraform_api.sources import Access, DataSource, S3Location
from loraform_api.training import CheckpointSpec, LoRASpec, Method, TrainingSpec
from loraform_api.verification import GATE, HousePolicy, Stage

PINNED = rule(
    "!self.storageUri.startsWith('hf://') || has(self.revision)",
    "`revision` must be set for `hf://`: the full commit hash to read",
    field_path=".revision",
)


class ModelReference(ApiModel):
    name: Annotated[str, Field(min_length=1, max_length=30, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    """Name of an IaCModel in the same namespace."""


class BaseModelSpec(Access, S3Location):
    model_config = {"json_schema_extra": {"x-kubernetes-validations": [PINNED]}}

    storage_uri: ModelUri
    """Where the base model lies (config.json, tokenizer.json, *.safetensors): `pvc://<claim>/<folder>`,
    `hf://<owner>/<name>`, `s3://<bucket>/<prefix>` or `oci://<registry>/<repository>@sha256:<digest>`."""
    revision: Annotated[str, Field(max_length=40, pattern=r"^[0-9a-f]{40}$")] | None = None
    """The full commit hash to read; for `hf://`, which needs it."""


class SuiteSpec(DataSource):
    """A held-out suite of rows `{"id", "instruction", "input", "asked", "difficulty", "cluster", "rego"}`."""

    stages: Annotated[
        list[Stage], Field(min_length=1, max_length=len(Stage), json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = list(GATE)
    """Stages that a row must pass to count as passed."""


VersionConstraint = Annotated[
    str,
    Field(
        max_length=100,
        pattern=r"^(=|!=|>=|<=|>|<|~>)? ?[0-9]+(\.[0-9]+){0,2}(, ?(=|!=|>=|<=|>|<|~>)? ?[0-9]+(\.[0-9]+){0,2})*$",
    ),
]


class ProviderVersion(ApiModel):
    source: Annotated[str, Field(max_length=120, pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]
    """Source address of the provider, for example `hashicorp/aws`."""
    version: VersionConstraint
    """Version constraint as in Terraform, for example `~> 5.100`."""


class ToolchainSpec(ApiModel):
    """What must judge; the profile's verifier has it or the run fails before an answer is generated."""

    terraform: VersionConstraint | None = None
    """Constraint on Terraform's version, for example `~> 1.11`."""
    opentofu: VersionConstraint | None = None
    """Constraint on OpenTofu's version, where the verifier runs that instead."""
    providers: Annotated[list[ProviderVersion], Field(max_length=20, json_schema_extra=keyed_by("source"))] = []
    """Providers that the verifier must have."""


class EvaluationSpec(ApiModel):
    suites: Annotated[
        list[SuiteSpec],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra=keyed_by("name"),
        ),
    ]
    """Suites whose rows decide; the rows of all suites count together."""
    max_new_tokens: Annotated[int, Field(ge=16, le=32768)] = 1024
    """Longest answer in tokens; an answer that reaches it counts as failed (`Truncated`)."""
    toolchain: ToolchainSpec = ToolchainSpec()
    """Versions that the verifier must have; absent, whatever it has. What judged is in `status.provenance`."""
    samples_per_prompt: Annotated[int, Field(ge=1, le=20)] = 1
    """Answers drawn for each prompt to estimate pass@k; 1 draws none. The greedy answer alone decides promotion."""
    temperature: Annotated[str, Field(max_length=12, pattern=r"^(0\.[0-9]*[1-9][0-9]*|1(\.[0-9]+)?|2(\.0+)?)$")] = "0.8"
    """Temperature at which answers are drawn, above 0 and at most 2, as text."""
    reflexion_rounds: Annotated[int, Field(ge=0, le=2)] = 0
    """Most times that the candidate repairs a refused answer, told what the verifier found; 0 measures no Reflexion.
    Beside it, answers are drawn for as many tokens. It decides nothing."""


class OutputSpec(Access, S3Location):
    storage_uri: ArtifactUri
    """Store for adapters: `pvc://<claim>/<folder>`, `s3://<bucket>/<prefix>` or `oci://<registry>/<repository>`.
    Each run writes a folder or a tag of its own there."""
    merge: bool = False
    """Add the adapter to the base's weights: what is measured and published is then a whole model, in `model/` beside
    the adapter, which any engine serves. Its workspace and store need room for it."""


class CacheSpec(ApiModel):
    claim_name: ObjectName
    """Name of a PersistentVolumeClaim in the same namespace, where runs share fetched base models and prepared rows."""


class ResourcesSpec(ApiModel):
    cpu: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+m?$")] = "1"
    """CPU request of train and engine containers."""
    memory: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(Mi|Gi)$")] = "4Gi"
    """Memory request and limit of train and engine containers."""


class Toleration(ApiModel):
    key: Annotated[str, Field(max_length=317)] = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Annotated[str, Field(max_length=63)] = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class PlacementSpec(ApiModel):
    profile: Name = "default"
    """Name of a profile of the operator's configuration: it fixes images, engine flags and the GPU resource."""
    resources: ResourcesSpec = ResourcesSpec()
    """CPU and memory."""
    node_selector: Annotated[
        dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=63)]], Field(max_length=16)
    ] = {}
    """Labels that the node must have."""
    tolerations: Annotated[
        list[Toleration], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Taints that the pods tolerate."""


class RunPlacementSpec(PlacementSpec):
    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Train pods of the run, which together train one adapter."""
    gpus: Annotated[int, Field(ge=1, le=16)] = 1
    """GPUs of each train pod, where the profile has GPUs. The engine takes one."""


class WorkspaceSpec(ApiModel):
    size: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(Mi|Gi|Ti)$")] = "20Gi"
    """Size of the run's own volume: base model, rows and checkpoints."""
    storage_class_name: ObjectName | None = None
    """StorageClass of that volume; the cluster's default where absent."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    """Access mode of that volume; more than one train pod needs `ReadWriteMany`."""


SHARED = rule(
    "self.placement.nodes == 1 || self.workspace.accessMode == 'ReadWriteMany'",
    "`workspace.accessMode` must be 'ReadWriteMany' when `placement.nodes` is greater than 1",
    field_path=".workspace",
)
SERVED = rule(
    "!has(self.modelRef) || (self.baseModel.storageUri.startsWith('pvc://') && self.output.storageUri.startsWith('pvc://'))",
    "`baseModel.storageUri` and `output.storageUri` must be `pvc://` where `modelRef` is set: engines read volumes",
    field_path=".output.storageUri",
)
MERGED = rule(
    "!has(self.modelRef) || !self.output.merge",
    "`output.merge` must be false where `modelRef` is set: the model's engines hold one base and load adapters",
    field_path=".output.merge",
)
UNMERGED = rule(
    "self.output.merge || (self.lora.variant == 'Standard' && self.lora.modulesToSave.size() == 0)",
    "`lora.variant: DoRA` and `lora.modulesToSave` need `output.merge: true`: engines load neither as an adapter",
    field_path=".lora",
)
SINGLE = rule(
    "!self.output.merge || self.checkpoint.candidates == 1",
    "`checkpoint.candidates` must be 1 where `output.merge` is true: one model is merged and measured",
    field_path=".checkpoint.candidates",
)
CHOSEN = rule(
    "self.checkpoint.candidates == 1 || self.dataset.validationPercent > 0",
    "`dataset.validationPercent` must be greater than 0 where `checkpoint.candidates` is greater than 1: candidates are"
    " measured on validation rows",
    field_path=".checkpoint.candidates",
)


class FineTuneJobSpec(ApiModel):
    model_config = {
        "json_schema_extra": {"x-kubernetes-validations": [SHARED, SERVED, MERGED, UNMERGED, SINGLE, CHOSEN]}
    }

    model_ref: ModelReference | None = None
    """The IaCModel for which this run's adapter is a candidate; absent: train, measure and publish only."""
    base_model: BaseModelSpec
    """The frozen base model."""
    dataset: DatasetSpec
    """Training rows."""
    policy: HousePolicy | None = None
    """House policy to teach and to check; absent: that of the IaCModel in `modelRef`."""
    method: Method = Method.LORA
    """How the base is held while the adapter is trained."""
    lora: LoRASpec = LoRASpec()
    """Shape of the adapter."""
    training: TrainingSpec = TrainingSpec()
    """Optimisation."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """How often training can be resumed."""
    evaluation: EvaluationSpec
    """How base, live and candidate are measured."""
    output: OutputSpec
    """Where the adapter goes."""
    placement: RunPlacementSpec = RunPlacementSpec()
    """Where the pods run."""
    workspace: WorkspaceSpec = WorkspaceSpec()
    """The run's own volume."""
    cache: CacheSpec | None = None
    """What runs share."""
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 3
    """Failed pods of one stage before the run fails; a pod that saved and stopped does not count."""
    active_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """Longest time from the job's creation to its end."""

    @property
    def stages(self) -> tuple[RunStage, ...]:
        """The run's stages, in order: a merged model has an engine of its own, so the base answers in one before."""
        return tuple(stage for stage in RunStage if stage is not RunStage.BASELINE or self.output.merge)

    def next_stage(self, status: FineTuneJobStatus) -> RunStage | None:
        """Return the first stage that is not recorded as finished; None when all are."""
        done = {s.name for s in status.stages}
        return next((stage for stage in self.stages if stage not in done), None)


class FineTuneJob(ApiModel):
    """A FineTuneJob trains one LoRA adapter on checked data, measures it with Terraform, and publishes it."""

    metadata: ObjectMeta
    spec: FineTuneJobSpec
    status: FineTuneJobStatus = FineTuneJobStatus()
