"""FineTuneJob: one run that trains, evaluates and publishes an adapter."""

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
    """URI of the base model (config.json, tokenizer.json, *.safetensors): `pvc://<claim>/<folder>`,
    `hf://<owner>/<name>`, `s3://<bucket>/<prefix>` or `oci://<registry>/<repository>@sha256:<digest>`."""
    revision: Annotated[str, Field(max_length=40, pattern=r"^[0-9a-f]{40}$")] | None = None
    """Full commit hash to read; required for `hf://`."""


class SuiteSpec(DataSource):
    """Held-out rows `{"id", "instruction", "input", "asked", "difficulty", "cluster", "rego", "reference"}`."""

    stages: Annotated[
        list[Stage], Field(min_length=1, max_length=len(Stage), json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = list(GATE)
    """Verification stages that a row must pass."""


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
    """Required versions of Terraform and providers; without them the run fails before an answer is generated."""

    terraform: VersionConstraint | None = None
    """Constraint on Terraform's version, for example `~> 1.11`."""
    opentofu: VersionConstraint | None = None
    """Constraint on OpenTofu's version, where the verifier runs OpenTofu."""
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
    """Evaluation suites; their rows are pooled."""
    max_new_tokens: Annotated[int, Field(ge=16, le=32768)] = 1024
    """Most tokens of an answer; an answer that reaches it fails (`Truncated`)."""
    toolchain: ToolchainSpec = ToolchainSpec()
    """Versions that the verifier must have; absent: any. `status.provenance` has those that were used."""
    samples_per_prompt: Annotated[int, Field(ge=1, le=20)] = 1
    """Answers sampled for each prompt to estimate pass@k; 1 samples none. Only the greedy answer decides promotion."""
    temperature: Annotated[str, Field(max_length=12, pattern=r"^(0\.[0-9]*[1-9][0-9]*|1(\.[0-9]+)?|2(\.0+)?)$")] = "0.8"
    """Sampling temperature, above 0 and at most 2, as text."""
    reflexion_rounds: Annotated[int, Field(ge=0, le=2)] = 0
    """Most rounds in which the candidate repairs a failed answer from the verifier's findings; 0 measures no Reflexion.
    It is compared with answers sampled for the same number of tokens, and does not affect promotion."""


class OutputSpec(Access, S3Location):
    storage_uri: ArtifactUri
    """Store for adapters: `pvc://<claim>/<folder>`, `s3://<bucket>/<prefix>` or `oci://<registry>/<repository>`.
    Each run writes its own folder or tag."""
    merge: bool = False
    """Merge the adapter into the base model. The merged model is evaluated, and published in `model/` beside the
    adapter; any engine serves it. Workspace and store need space for it."""


class CacheSpec(ApiModel):
    claim_name: ObjectName
    """Name of a PersistentVolumeClaim in the same namespace, in which runs share base models and prepared rows."""


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
    """Name of a profile in the operator's configuration, which sets images, engine flags and the GPU resource."""
    resources: ResourcesSpec = ResourcesSpec()
    """CPU and memory."""
    node_selector: Annotated[
        dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=63)]], Field(max_length=16)
    ] = {}
    """Labels that a node must have."""
    tolerations: Annotated[
        list[Toleration], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Taints that the pods tolerate."""


class RunPlacementSpec(PlacementSpec):
    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of train pods, which together train one adapter."""
    gpus: Annotated[int, Field(ge=1, le=16)] = 1
    """GPUs of each train pod, if the profile has GPUs. The engine uses one."""


class WorkspaceSpec(ApiModel):
    size: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(Mi|Gi|Ti)$")] = "20Gi"
    """Size of the run's volume, which holds base model, rows and checkpoints."""
    storage_class_name: ObjectName | None = None
    """StorageClass of that volume; absent: the cluster's default."""
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

PLANNED = rule(
    "!has(self.policy) || self.policy.packs.size() == 0"
    " || self.evaluation.suites.all(s, !('Policy' in s.stages) || 'Plan' in s.stages)",
    "`evaluation.suites[].stages` must have 'Plan' beside 'Policy' where `policy.packs` is set: packs judge a plan",
    field_path=".evaluation.suites",
)


class FineTuneJobSpec(ApiModel):
    model_config = {
        "json_schema_extra": {"x-kubernetes-validations": [SHARED, SERVED, MERGED, UNMERGED, SINGLE, CHOSEN, PLANNED]}
    }

    model_ref: ModelReference | None = None
    """The IaCModel for which this run's adapter is a candidate; absent: train, evaluate and publish only."""
    base_model: BaseModelSpec
    """The frozen base model."""
    dataset: DatasetSpec
    """Training rows."""
    policy: HousePolicy | None = None
    """House policy for training and evaluation; absent: that of the IaCModel in `modelRef`."""
    method: Method = Method.LORA
    """Number format of the base model in training."""
    lora: LoRASpec = LoRASpec()
    """Shape of the adapter."""
    training: TrainingSpec = TrainingSpec()
    """Training parameters."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """Checkpoints of training."""
    evaluation: EvaluationSpec
    """Evaluation of base, live version and candidate."""
    output: OutputSpec
    """Where the adapter is published."""
    placement: RunPlacementSpec = RunPlacementSpec()
    """Where the pods run."""
    workspace: WorkspaceSpec = WorkspaceSpec()
    """The run's volume."""
    cache: CacheSpec | None = None
    """Volume that runs share."""
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 3
    """Failed pods of one stage before the run fails; a pod that saved its progress and stopped does not count."""
    active_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """Most seconds from the job's creation to its end."""

    @property
    def stages(self) -> tuple[RunStage, ...]:
        """The run's stages, in order. A merged model needs its own engine, so the base answers in a stage before."""
        return tuple(stage for stage in RunStage if stage is not RunStage.BASELINE or self.output.merge)

    def next_stage(self, status: FineTuneJobStatus) -> RunStage | None:
        """Return the first stage that has not finished; None when all have."""
        done = {s.name for s in status.stages}
        return next((stage for stage in self.stages if stage not in done), None)


class FineTuneJob(ApiModel):
    """A FineTuneJob trains one LoRA adapter on checked data, evaluates it with Terraform, and publishes it."""

    metadata: ObjectMeta
    spec: FineTuneJobSpec
    status: FineTuneJobStatus = FineTuneJobStatus()
