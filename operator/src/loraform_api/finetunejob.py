"""FineTuneJob: one bounded run from data to a measured, published adapter."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_api.meta import (
    ApiModel,
    DecimalString,
    LocalReference,
    Name,
    ObjectMeta,
    ObjectName,
    PvcUri,
    RelativePath,
    Sha256,
    keyed_by,
    rule,
)
from loraform_api.verification import GATE, HousePolicy, Stage


class ModelReference(ApiModel):
    name: Annotated[str, Field(min_length=1, max_length=30, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    """Name of an IaCModel in the same namespace."""


class BaseModelSpec(ApiModel):
    storage_uri: PvcUri
    """Where the base model lies: `pvc://<claim>/<folder>` holding config.json, tokenizer.json and *.safetensors."""


class HTTPSource(ApiModel):
    url: Annotated[str, Field(max_length=2048, pattern=r"^https://[^\s]+$")]
    """An https URL of a JSONL file."""
    sha256: Sha256
    """Digest that the downloaded file must have."""
    ca_config_map_ref: LocalReference | None = None
    """ConfigMap whose key `ca.crt` holds the CA certificates to trust instead of the public ones."""


class GitSource(ApiModel):
    url: Annotated[str, Field(max_length=2048, pattern=r"^https://[^\s]+$")]
    """An https URL of a git repository."""
    commit: Annotated[str, Field(max_length=40, pattern=r"^[0-9a-f]{40}$")]
    """The full commit hash to read."""
    path: RelativePath
    """Path of a JSONL file in the repository."""
    ca_config_map_ref: LocalReference | None = None
    """ConfigMap whose key `ca.crt` holds the CA certificates to trust instead of the public ones."""


class ConfigMapSource(ApiModel):
    name: ObjectName
    """Name of a ConfigMap in the same namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key whose value is the JSONL text."""


class ClaimSource(ApiModel):
    claim_name: ObjectName
    """Name of a PersistentVolumeClaim in the same namespace."""
    path: RelativePath
    """Path of a JSONL file in the volume."""


ONE_OF = rule(
    "[has(self.http), has(self.git), has(self.configMap), has(self.persistentVolumeClaim)].filter(x, x).size() == 1",
    "exactly one of `http`, `git`, `configMap` and `persistentVolumeClaim` must be set",
)


class DataSource(ApiModel):
    """A named JSONL file; exactly one place must be given."""

    model_config = {"json_schema_extra": {"x-kubernetes-validations": [ONE_OF]}}

    name: Name
    """Name of this source, unique in its list."""
    http: HTTPSource | None = None
    """A file behind https with a known digest."""
    git: GitSource | None = None
    """A file in a git repository at a fixed commit."""
    config_map: ConfigMapSource | None = None
    """A key of a ConfigMap."""
    persistent_volume_claim: ClaimSource | None = None
    """A file in a volume."""


class Deduplicate(StrEnum):
    EXACT = "Exact"
    OFF = "Off"


class DatasetSpec(ApiModel):
    sources: Annotated[
        list[DataSource],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra=keyed_by("name"),
        ),
    ]
    """Files of rows `{"instruction", "input", "response"}`, read in this order."""
    deduplicate: Deduplicate = Deduplicate.EXACT
    """`Exact` keeps the first of rows with equal prompt and program; `Off` keeps all."""
    validation_percent: Annotated[int, Field(ge=0, le=50)] = 5
    """Share of the rows kept out of training for the validation loss, in percent."""
    min_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    """Fewest rows that must remain after all filters; fewer fail the run before a GPU is taken."""


class LoRASpec(ApiModel):
    rank: Annotated[int, Field(ge=1, le=512)] = 32
    """Rank of the adapter's matrices."""
    alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    """Scaling numerator: the adapter is scaled by alpha / rank."""
    target_modules: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_]+$")]],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Names of the linear layers to adapt; empty means all linear layers except the output head."""


class TrainingSpec(ApiModel):
    epochs: Annotated[int, Field(ge=1, le=100)] = 2
    """Passes over the training rows."""
    learning_rate: DecimalString = "2e-4"
    """Peak learning rate as text, for example `2e-4`."""
    warmup_percent: Annotated[int, Field(ge=0, le=50)] = 3
    """Share of the steps used to warm up, in percent; a cosine decay follows."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rows per optimiser step."""
    micro_batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rows per forward pass; `batchSize` must be a multiple of it."""
    max_sequence_length: Annotated[int, Field(ge=64, le=131072)] = 4096
    """Longest row in tokens, prompt and response together; longer rows are dropped and counted, never cut."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42
    """Seed of shuffling and initialisation."""


class CheckpointSpec(ApiModel):
    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Optimiser steps between checkpoints."""


class SuiteSpec(DataSource):
    """A held-out suite of rows `{"id", "instruction", "input", "asked", "difficulty", "cluster", "rego"}`."""

    stages: Annotated[
        list[Stage], Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
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


class OutputSpec(ApiModel):
    storage_uri: PvcUri
    """Store for adapters, `pvc://<claim>/<folder>`; each run writes its own folder below it."""


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
    gpus: Annotated[int, Field(ge=1, le=1)] = 1
    """GPUs of a train or engine pod, where the profile has GPUs."""
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


class WorkspaceSpec(ApiModel):
    size: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(Mi|Gi|Ti)$")] = "20Gi"
    """Size of the run's own volume: base model, rows and checkpoints."""
    storage_class_name: ObjectName | None = None
    """StorageClass of that volume; the cluster's default where absent."""


MULTIPLE = rule(
    "self.training.batchSize % self.training.microBatchSize == 0",
    "`training.batchSize` must be a multiple of `training.microBatchSize`",
    field_path=".training.batchSize",
)


class FineTuneJobSpec(ApiModel):
    model_config = {"json_schema_extra": {"x-kubernetes-validations": [MULTIPLE]}}

    model_ref: ModelReference | None = None
    """The IaCModel for which this run's adapter is a candidate; absent: train, measure and publish only."""
    base_model: BaseModelSpec
    """The frozen base model."""
    dataset: DatasetSpec
    """Training rows."""
    policy: HousePolicy | None = None
    """House policy to teach and to check; absent: that of the IaCModel in `modelRef`."""
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
    placement: PlacementSpec = PlacementSpec()
    """Where the pods run."""
    workspace: WorkspaceSpec = WorkspaceSpec()
    """The run's own volume."""
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 3
    """Failed pods of one stage before the run fails; a pod that saved and stopped does not count."""
    active_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """Longest time from the job's creation to its end."""


class FineTuneJob(ApiModel):
    """A FineTuneJob trains one LoRA adapter on checked data, measures it with Terraform, and publishes it."""

    metadata: ObjectMeta
    spec: FineTuneJobSpec
    status: FineTuneJobStatus = FineTuneJobStatus()
