"""Builds the Job of each stage: volumes, containers, failure policy. Pure; Jobs are never patched."""

from __future__ import annotations

from loraform_api import artifact, names
from loraform_api.dataset import DatasetSpec, OnFinding
from loraform_api.failures import PERMANENT, UNCOUNTED
from loraform_api.finetunejob import FineTuneJob
from loraform_api.names import Kind, RunStage
from loraform_operator.finetunejob import nodes
from loraform_operator.finetunejob.observe import Run, endpoint_name, run_config_name, workspace_name
from loraform_operator.finetunejob.volumes import volumes_of
from loraform_operator.kube.children import child
from loraform_operator.kube.objects import Object
from loraform_operator.pods.engine import engine_container, gpu_limits
from loraform_operator.pods.parts import (
    CONTAINER_SECURITY,
    ENDPOINT_FILES,
    ENDPOINT_MOUNT,
    TOKEN_MOUNT,
    claim_volume,
    config_map_volume,
    endpoint_volume,
    environment,
    pod_base,
    resources,
    scratch_volumes,
    tmp_mount,
    token_volume,
    verifier_container,
)

RUN_MOUNT = {"name": "run", "mountPath": names.RUN_DIR, "readOnly": True}
WORKSPACE_MOUNT = {"name": "workspace", "mountPath": names.WORKSPACE_DIR}
GRACE_SECONDS = {RunStage.TRAIN: 120}
"""Seconds from SIGTERM to SIGKILL, enough to save a checkpoint; 30 for the other stages."""
LIGHT = {RunStage.PREPARE: ("100m", "512Mi", "4Gi"), RunStage.EVALUATE: ("100m", "256Mi", "2Gi")}
"""CPU request, memory request and memory limit of stages that do not train; `SMALL` where not listed."""
SMALL = ("100m", "256Mi", "1Gi")


def stage_job(job: FineTuneJob, stage: RunStage, retry: int, run: Run) -> Object:
    """Return the Job of a stage; `retry` counts the earlier Jobs whose report was lost."""
    meta = job.metadata
    name = names.stage_job_name(meta.name, meta.uid, stage, retry)
    obj = child(Kind.FINE_TUNE_JOB, meta, "Job", name, stage.value)
    labels = obj["metadata"]["labels"]
    labels |= {names.LABEL_STAGE: stage.value, names.LABEL_RETRY: str(retry)}
    return {
        **obj,
        "spec": {
            "backoffLimit": job.spec.backoff_limit,
            **(nodes.parallelism(job) if stage is RunStage.TRAIN else {"completions": 1, "parallelism": 1}),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules(stage)},
            "template": {"metadata": {"labels": labels}, "spec": _pod(job, stage, retry, run)},
        },
    }


def _failure_rules(stage: RunStage) -> list[Object]:
    permanent = {"containerName": stage.value, "operator": "In", "values": sorted(int(c) for c in PERMANENT)}
    saved = {"containerName": stage.value, "operator": "In", "values": sorted(int(c) for c in UNCOUNTED)}
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return [
        {"action": "FailJob", "onExitCodes": permanent},
        *([{"action": "Ignore", "onExitCodes": saved}] if stage is RunStage.TRAIN else []),
        {"action": "Ignore", "onPodConditions": [disrupted]},
    ]


def _pod(job: FineTuneJob, stage: RunStage, retry: int, run: Run) -> Object:
    meta = job.metadata
    volumes, mounts = volumes_of(job, stage, run)
    sidecars = _sidecars(job, stage, run)
    pod: Object = {
        **pod_base(names.run_prefix(meta.name, meta.uid), job.spec.placement),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS.get(stage, 30),
        "containers": [_container(job, stage, run, _environment(job, stage, retry, run), mounts)],
        "volumes": [
            config_map_volume("run", run_config_name(job), names.RUN_CONFIG_FILE, optional=False),
            endpoint_volume(endpoint_name(job)),
            claim_volume("workspace", workspace_name(job), read_only=False),
            token_volume(meta),
            *(v for c in [stage.value, *(s["name"] for s in sidecars)] for v in scratch_volumes(c)),
            *volumes,
        ],
    }
    if sidecars:
        pod["initContainers"] = sidecars
    if stage is RunStage.TRAIN and job.spec.placement.nodes > 1:
        pod["subdomain"] = names.rendezvous_name(meta.name, meta.uid)
    return pod


def _container(job: FineTuneJob, stage: RunStage, run: Run, env: list[Object], mounts: list[Object]) -> Object:
    placement = job.spec.placement
    if stage is RunStage.TRAIN:
        size = placement.resources
        requirements = resources(size.cpu, size.memory, gpu=gpu_limits(run.facts.engine, placement.gpus))
    else:
        cpu, memory, limit = LIGHT.get(stage, SMALL)
        requirements = resources(cpu, memory, limit=limit)
    return {
        "name": stage.value,
        "image": run.config.images["trainer"],
        "args": [stage.value],
        "env": env,
        "resources": requirements,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePath": names.TERMINATION_LOG,
        "volumeMounts": [RUN_MOUNT, WORKSPACE_MOUNT, ENDPOINT_MOUNT, TOKEN_MOUNT, tmp_mount(stage.value), *mounts],
    }


def _environment(job: FineTuneJob, stage: RunStage, retry: int, run: Run) -> list[Object]:
    """Return the environment: where to report progress, and for train pods the rendezvous."""
    rendezvous = nodes.environment(job, run.facts.engine, retry) if stage is RunStage.TRAIN else {}
    return environment(**ENDPOINT_FILES, **rendezvous)


def _sidecars(job: FineTuneJob, stage: RunStage, run: Run) -> list[Object]:
    """Return engine and verifier as native sidecars: they end with the stage's container, so the Job can complete."""
    image = run.config.images["verifier"]
    if stage is RunStage.PREPARE and verifies(job.spec.dataset):
        sidecars = [verifier_container(image, None)]
    elif stage is RunStage.BASELINE:
        sidecars = [_engine(job, run, names.BASE_FOLDER)]
    elif stage is RunStage.EVALUATE:
        model = artifact.MODEL_FOLDER if job.spec.output.merge else names.BASE_FOLDER
        sidecars = [_engine(job, run, model), verifier_container(image, run.config.policy)]
    else:
        sidecars = []
    return [{**c, "restartPolicy": "Always"} for c in sidecars]


def _engine(job: FineTuneJob, run: Run, model: str) -> Object:
    """Return the engine for a model folder of the workspace."""
    mounts = [{**WORKSPACE_MOUNT, "readOnly": True}]
    path = f"{names.WORKSPACE_DIR}/{model}"
    return engine_container(run.facts.engine, job.spec.placement.resources, model_path=path, mounts=mounts)


def verifies(dataset: DatasetSpec) -> bool:
    """Say whether `prepare` runs Terraform, and so needs a verifier."""
    return dataset.checks.validity is not OnFinding.OFF or dataset.repair_examples.percent > 0
