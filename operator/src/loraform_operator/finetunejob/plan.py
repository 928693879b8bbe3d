"""Plans the objects of a run: what to create, apply and delete. Pure."""

from __future__ import annotations

from datetime import datetime

from loraform_api import names
from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_api.meta import split_claim_uri
from loraform_api.names import Kind, RunStage
from loraform_api.run import RunConfig
from loraform_operator.context import Endpoint
from loraform_operator.finetunejob import nodes, stage_jobs
from loraform_operator.finetunejob.observe import (
    OPERATOR_FILE,
    Observed,
    OperatorFacts,
    Run,
    endpoint_name,
    live_adapter,
    retry_of,
    run_config_name,
    workspace_name,
)
from loraform_operator.finetunejob.policies import first_block
from loraform_operator.finetunejob.reports import stage_of
from loraform_operator.finetunejob.status import failed, finished
from loraform_operator.kube.apply import Plan
from loraform_operator.kube.children import child
from loraform_operator.kube.objects import Object
from loraform_operator.pods.engine import decide_engine
from loraform_operator.pods.networkpolicy import egress_to_operator, egress_to_world, network_policy
from loraform_operator.pods.parts import endpoint_data
from loraform_operator.pods.status import phase
from loraform_operator.settings import Settings

OFFLINE = (RunStage.TRAIN, RunStage.BASELINE, RunStage.EVALUATE)
"""Stages that process untrusted content; their pods may reach the operator only."""
ONLINE = (RunStage.PREPARE, RunStage.PUBLISH)


def plan(observed: Observed, status: FineTuneJobStatus, settings: Settings, endpoint: Endpoint, now: datetime) -> Plan:
    """Return what to create, apply and delete for the derived status.

    A Job is deleted only when the stored status has recorded its stage: the report must not be lost.
    """
    if finished(observed.job.status):
        return Plan(delete=_leftovers(observed))
    if failed(status):
        return Plan()
    recorded = {s.name for s in observed.job.status.stages}
    obsolete = [j for j in observed.jobs if stage_of(j) in recorded or _superseded(j, observed)]
    if first_block(observed, settings, now) and observed.stage_job is None:
        return Plan(delete=obsolete)
    job = observed.job
    create = [] if observed.run else [run_config_map(job, render(observed, settings))]
    create.append(workspace(job))
    if job.spec.placement.nodes > 1:
        service = _child(job, "Service", names.rendezvous_name(job.metadata.name, job.metadata.uid))
        create.append({**service, "spec": nodes.service_spec(job)})
    stage = job.spec.next_stage(status)
    if observed.run and stage:
        retry = retry_of(status, stage)
        create.append(stage_jobs.stage_job(job, stage, retry, observed.run))
    applied = [service_account(job), endpoint_config_map(job, endpoint), *network_policies(job, endpoint)]
    return Plan(apply=applied, create=create, delete=obsolete)


def render(observed: Observed, settings: Settings) -> Run:
    """Return everything that the stages are configured with; done once per run."""
    job, model = observed.job, observed.model
    profile, merged = settings.profiles[job.spec.placement.profile], job.spec.output.merge
    engine = decide_engine(profile, job.spec.method, model.serving.lora if model else None, merged=merged)
    live = model.live if model else None
    config = RunConfig(
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
        spec=job.spec,
        policy=job.spec.policy or (model.policy if model else None),
        live=live_adapter(live) if live else None,
        images={
            "trainer": settings.images.trainer,
            "verifier": settings.images.verifier,
            "engine": engine.image,
        },
        engine_dtype=engine.dtype,
        flux=observed.flux,
    )
    claim = split_claim_uri(live.artifact_uri)[0] if live else None
    return Run(config=config, facts=OperatorFacts(engine=engine, live_claim=claim))


def run_config_map(job: FineTuneJob, run: Run) -> Object:
    """Return the immutable ConfigMap with RunConfig and operator facts."""
    data = {
        names.RUN_CONFIG_FILE: run.config.model_dump_json(by_alias=True, exclude_none=True),
        OPERATOR_FILE: run.facts.model_dump_json(by_alias=True, exclude_none=True),
    }
    return {**_child(job, "ConfigMap", run_config_name(job)), "immutable": True, "data": data}


def endpoint_config_map(job: FineTuneJob, endpoint: Endpoint) -> Object:
    """Return the ConfigMap with the operator's address. It follows the operator while the run's pods run."""
    path = names.progress_path(job.metadata.namespace, job.metadata.name)
    return {**_child(job, "ConfigMap", endpoint_name(job)), "data": endpoint_data(endpoint, path)}


def workspace(job: FineTuneJob) -> Object:
    """Return the claim that all stages share."""
    spec: Object = {
        "accessModes": [job.spec.workspace.access_mode],
        "resources": {"requests": {"storage": job.spec.workspace.size}},
    }
    if job.spec.workspace.storage_class_name is not None:
        spec["storageClassName"] = job.spec.workspace.storage_class_name
    return {**_child(job, "PersistentVolumeClaim", workspace_name(job)), "spec": spec}


def service_account(job: FineTuneJob) -> Object:
    """Return the service account of the run's pods; it has no API rights and only identifies them."""
    return {**_child(job, "ServiceAccount", _prefix(job)), "automountServiceAccountToken": False}


def network_policies(job: FineTuneJob, endpoint: Endpoint) -> list[Object]:
    """Return the policies: no ingress, egress by stage, and traffic between the train pods of several nodes."""
    rules = [("-offline", OFFLINE, egress_to_operator(endpoint)), ("-online", ONLINE, egress_to_world())]
    policies = [
        _policy(
            job, suffix, {"matchLabels": {names.LABEL_OWNER_UID: job.metadata.uid}, **_in_stages(stages)}, egress=egress
        )
        for suffix, stages, egress in rules
    ]
    if job.spec.placement.nodes > 1:
        egress, ingress = nodes.peer_rules(job)
        selector = {"matchLabels": nodes.train_labels(job)}
        policies.append(_policy(job, "-nodes", selector, egress=egress, ingress=ingress))
    return policies


def _policy(
    job: FineTuneJob, suffix: str, selector: Object, *, egress: list[Object], ingress: list[Object] | None = None
) -> Object:
    policy = _child(job, "NetworkPolicy", _prefix(job) + suffix)
    return {**policy, "spec": network_policy(selector, egress=egress, ingress=ingress)}


def _in_stages(stages: tuple[RunStage, ...]) -> Object:
    values = [s.value for s in stages]
    return {"matchExpressions": [{"key": names.LABEL_STAGE, "operator": "In", "values": values}]}


def _child(job: FineTuneJob, kind: str, name: str) -> Object:
    return child(Kind.FINE_TUNE_JOB, job.metadata, kind, name, "run")


def _prefix(job: FineTuneJob) -> str:
    return names.run_prefix(job.metadata.name, job.metadata.uid)


def _superseded(job: Object, observed: Observed) -> bool:
    """Say whether a later retry of the stage replaces this Job."""
    number = int(job["metadata"]["labels"][names.LABEL_RETRY])
    return number < retry_of(observed.job.status, stage_of(job))


def _leftovers(observed: Observed) -> list[Object]:
    """Return the Jobs that a finished run no longer needs; a failed Job keeps its pods, whose logs are of use."""
    if not failed(observed.job.status):
        return observed.jobs
    stage = observed.job.spec.next_stage(observed.job.status)
    active = any(phase(p) in ("Pending", "Running") for p in observed.pods)
    return [j for j in observed.jobs if active or stage_of(j) != stage]
