"""Observes a run: its objects from the indexes, and what no watch reports from the API server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from loraform_api.failures import FailureClass
from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_api.heartbeat import Route
from loraform_api.iacmodel import IaCModelSpec, ServingSpec, VersionRecord
from loraform_api.meta import WireModel, is_claim_uri, parse_timestamp, split_claim_uri
from loraform_api.names import (
    ROUTE_FILE,
    RUN_CONFIG_FILE,
    Kind,
    RunStage,
    route_name,
    run_prefix,
    stage_job_name,
)
from loraform_api.run import FluxArtifact, LiveAdapter, RunConfig
from loraform_api.sources import DataSource
from loraform_api.verification import HousePolicy
from loraform_operator.context import Context, Key
from loraform_operator.endpoint.progress_store import ProgressReport
from loraform_operator.finetunejob import flux
from loraform_operator.kube.children import is_owned
from loraform_operator.kube.errors import InvalidSpec, first_error
from loraform_operator.kube.objects import Object, condition_of
from loraform_operator.pods.engine import EngineSettings

OPERATOR_FILE = "operator.json"
WRITTEN_BY_ANOTHER = (
    "another version of the operator wrote it; delete the FineTuneJob, and create it again under another name"
)
PODS_EXPECTED_SECONDS = 10
"""A Job without a pod for longer is checked for refused pods."""


class OperatorFacts(WireModel):
    """What the operator keeps of a run beside its RunConfig, as a key of the same ConfigMap."""

    engine: EngineSettings
    live_claim: str | None = None


@dataclass(frozen=True)
class Run:
    """A rendered run: what its stages and the operator use for as long as it exists."""

    config: RunConfig
    facts: OperatorFacts


@dataclass(frozen=True)
class TargetModel:
    """The IaCModel in `spec.modelRef`: its policy, how it serves, and its live version."""

    name: str
    policy: HousePolicy | None
    serving: ServingSpec
    live: VersionRecord | None


@dataclass(frozen=True)
class Observed:
    """Everything that status and plan of a run are derived from."""

    job: FineTuneJob
    run: Run | None = None
    children: tuple[Object, ...] = ()
    """Objects that the run owns."""
    stage_job: Object | None = None
    """The current stage's Job, read from the API server."""
    pods: tuple[Object, ...] = ()
    model: TargetModel | None = None
    """None when the job has no `modelRef`, or the IaCModel does not exist; only read until the run is rendered."""
    missing_claims: tuple[str, ...] = ()
    """Claims that the next Job needs and that do not exist, as `name (field)`."""
    flux: dict[str, FluxArtifact] = field(default_factory=dict)
    """Artifacts of Flux sources by `<list>/<source name>`; only read until the run is rendered."""
    missing_flux: tuple[str, ...] = ()
    """Flux sources without an artifact, as `kind name (field)`."""
    pods_refused: str = ""
    """Why the Job controller cannot create pods of the stage; empty when it can."""
    refused: str = ""
    """The API server's message about an object that it refused in this reconcile; empty when it refused none."""
    progress: ProgressReport | None = None

    @property
    def jobs(self) -> list[Object]:
        return [c for c in self.children if c["kind"] == "Job"]

    @property
    def existing(self) -> list[Object]:
        """Objects that need not be created. The index may still hold deleted Jobs, so only `stage_job` counts."""
        return [*(c for c in self.children if c["kind"] != "Job"), *([self.stage_job] if self.stage_job else [])]


def run_config_name(job: FineTuneJob) -> str:
    """Return the name of the ConfigMap that holds the rendered run."""
    return f"{run_prefix(job.metadata.name, job.metadata.uid)}-run"


def endpoint_name(job: FineTuneJob) -> str:
    """Return the name of the ConfigMap with the operator's address."""
    return f"{run_prefix(job.metadata.name, job.metadata.uid)}-endpoint"


def workspace_name(job: FineTuneJob) -> str:
    """Return the name of the claim that all stages share."""
    return f"{run_prefix(job.metadata.name, job.metadata.uid)}-workspace"


def retry_of(status: FineTuneJobStatus, stage: RunStage) -> int:
    """Return the retry number of the stage's Job: how many of its reports were lost."""
    return sum(a.stage == stage and a.reason == FailureClass.LOST_REPORT for a in status.attempts)


def job_finished(job: Object) -> bool:
    """Say whether a Job is complete or failed."""
    return bool(condition_of(job, "Complete") or condition_of(job, "Failed"))


async def observe(ctx: Context, key: Key, job: FineTuneJob, now: datetime) -> Observed:
    """Observe a run; raises `ClusterError`, and `InvalidSpec` when a stored object is unreadable."""
    children = tuple(c for c in ctx.cache.owned(key) if is_owned(c, job.metadata.uid))
    run = _read_run(job, children)
    stage = job.spec.next_stage(job.status)
    name = stage and stage_job_name(job.metadata.name, job.metadata.uid, stage, retry_of(job.status, stage))
    stage_job = await ctx.cluster.get("Job", key.namespace, name) if name and run else None
    pods = tuple(c for c in children if c["kind"] == "Pod")
    if stage_job and job_finished(stage_job):  # the Job may be newer than the index of pods
        selector = f"batch.kubernetes.io/job-name={name}"
        others = tuple(p for p in pods if p["metadata"]["labels"].get("batch.kubernetes.io/job-name") != name)
        pods = (*others, *await ctx.cluster.list("Pod", key.namespace, labels=selector))
    missing_claims = await _missing_claims(ctx, job, run, stage) if stage and stage_job is None else ()
    artifacts, missing_flux = ({}, ()) if run else await flux.artifacts(ctx, job)
    return Observed(
        job=job,
        run=run,
        children=children,
        stage_job=stage_job,
        pods=pods,
        model=None if run else _read_model(ctx, job),
        missing_claims=missing_claims,
        flux=artifacts,
        missing_flux=missing_flux,
        pods_refused=await _pods_refused(ctx, stage_job, pods, now) if stage_job else "",
        progress=ctx.progress.get((key.namespace, key.name)),
    )


def run_of_config_map(obj: Object) -> Run:
    """Read a rendered run from its ConfigMap; raises pydantic's ValidationError."""
    data = obj["data"]
    return Run(
        config=RunConfig.model_validate_json(data[RUN_CONFIG_FILE]),
        facts=OperatorFacts.model_validate_json(data[OPERATOR_FILE]),
    )


def _read_run(job: FineTuneJob, children: tuple[Object, ...]) -> Run | None:
    name = run_config_name(job)
    maps = (c for c in children if c["kind"] == "ConfigMap" and c["metadata"]["name"] == name)
    try:
        return next((run_of_config_map(c) for c in maps), None)
    except ValidationError as error:
        raise InvalidSpec(f"ConfigMap `{name}` is unreadable: {first_error(error)}: {WRITTEN_BY_ANOTHER}") from error


def _read_model(ctx: Context, job: FineTuneJob) -> TargetModel | None:
    if job.spec.model_ref is None:
        return None
    key = Key(Kind.IAC_MODEL, job.metadata.namespace, job.spec.model_ref.name)
    body = ctx.cache.get(key)
    try:
        return None if body is None else target_model(body, ctx.cache.owned(key))
    except ValidationError as error:
        message = f"spec.modelRef: IaCModel `{key.name}`, its route or a version of it is unreadable"
        raise InvalidSpec(f"{message}: {first_error(error)}: see the IaCModel's own status") from error


def target_model(body: Object, children: Sequence[Object]) -> TargetModel:
    """Read policy and serving from the IaCModel's spec, and the live version from its route and version records."""
    spec, name = IaCModelSpec.model_validate(body["spec"]), body["metadata"]["name"]
    routes = (c for c in children if c["kind"] == "ConfigMap" and c["metadata"]["name"] == route_name(name))
    live = next((Route.model_validate_json(c["data"][ROUTE_FILE]).live for c in routes), None)
    records = (VersionRecord.model_validate(c["data"]) for c in children if c["kind"] == "ControllerRevision")
    return TargetModel(
        name=name,
        policy=spec.policy,
        serving=spec.serving,
        live=next((r for r in records if live is not None and r.artifact_digest == live), None),
    )


def live_adapter(record: VersionRecord) -> LiveAdapter:
    """Return the live version as a RunConfig has it."""
    _, folder = split_claim_uri(record.artifact_uri)
    return LiveAdapter(version=record.version, digest=record.artifact_digest, path=folder)


def claims_of(job: FineTuneJob, live_claim: str | None) -> dict[str, str]:
    """Return the claims that a run mounts, by name, with the field that names each."""
    spec = job.spec
    fields = _claim(spec.base_model.storage_uri, "spec.baseModel.storageUri")
    lists: list[tuple[str, list[DataSource]]] = [
        ("spec.dataset.sources", list(spec.dataset.sources)),
        ("spec.evaluation.suites", list(spec.evaluation.suites)),
    ]
    for path, sources in lists:
        volumes = ((s.name, s.persistent_volume_claim) for s in sources)
        fields += [(volume.claim_name, f"{path}[{name}]") for name, volume in volumes if volume is not None]
    fields += _claim(spec.output.storage_uri, "spec.output.storageUri")
    if spec.cache is not None:
        fields.append((spec.cache.claim_name, "spec.cache.claimName"))
    if live_claim is not None:
        fields.append((live_claim, "the live version's artifact"))
    return dict(reversed(fields))


def _claim(uri: str, field: str) -> list[tuple[str, str]]:
    return [(split_claim_uri(uri)[0], field)] if is_claim_uri(uri) else []


async def _missing_claims(ctx: Context, job: FineTuneJob, run: Run | None, stage: RunStage) -> tuple[str, ...]:
    if stage not in (RunStage.PREPARE, RunStage.PUBLISH):
        return ()
    claims = claims_of(job, run.facts.live_claim if run else None)
    missing = [
        f"`{claim}` ({field})"
        for claim, field in sorted(claims.items())
        if await ctx.cluster.get("PersistentVolumeClaim", job.metadata.namespace, claim) is None
    ]
    return tuple(missing)


async def _pods_refused(ctx: Context, job: Object, pods: tuple[Object, ...], now: datetime) -> str:
    """Return why the Job has no pod: the Job controller says so only in events."""
    meta = job["metadata"]
    age = (now - parse_timestamp(meta["creationTimestamp"])).total_seconds()
    has_pod = any(o["uid"] == meta["uid"] for p in pods for o in p["metadata"].get("ownerReferences") or [])
    if has_pod or job_finished(job) or age < PODS_EXPECTED_SECONDS:
        return ""
    selector = f"involvedObject.uid={meta['uid']},reason=FailedCreate"
    events = await ctx.cluster.list("Event", meta["namespace"], fields=selector)
    if not events:
        return ""
    return without_pod_names(str(max(events, key=lambda e: str(e.get("lastTimestamp")))["message"]), meta["name"])


def without_pod_names(message: str, job: str) -> str:
    """Return the message with the Job's name for those of its pods: each attempt has another, and says the same."""
    return re.sub(rf"{re.escape(job)}(-\d+)?-[a-z0-9]{{5}}\b", job, message)
