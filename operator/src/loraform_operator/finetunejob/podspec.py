"""The Job of each stage: volumes, containers, failure policy. Pure; created once and never patched."""

from __future__ import annotations

from typing import Any

from loraform_api import names
from loraform_api.finetunejob import DataSource, FineTuneJob
from loraform_api.names import Kind, RunStage
from loraform_api.run import PERMANENT, ExitCode
from loraform_operator.context import Endpoint
from loraform_operator.engine import engine_container, gpu
from loraform_operator.finetunejob.observe import Run
from loraform_operator.podspec import (
    CA_PATH,
    CONTAINER_SECURITY,
    TOKEN_MOUNT,
    TOKEN_PATH,
    base_labels,
    claim_volume,
    config_map_volume,
    environment,
    owner_reference,
    pack_mounts,
    pack_volumes,
    pod_base,
    resources,
    scratch_volumes,
    split_claim_uri,
    tmp_mount,
    token_volume,
    verifier_container,
)

Object = dict[str, Any]
RUN_MOUNT = {"name": "run", "mountPath": names.RUN_DIR, "readOnly": True}
WORKSPACE_MOUNT = {"name": "workspace", "mountPath": names.WORKSPACE_DIR}
GRACE_SECONDS = {RunStage.TRAIN: 120}
"""Time to save a checkpoint after SIGTERM; 30 for the other stages."""
LIGHT = {RunStage.PREPARE: ("100m", "512Mi", "4Gi"), RunStage.EVALUATE: ("100m", "256Mi", "2Gi")}
"""CPU request, memory request and memory limit of stages that do not train; publish takes `SMALL`."""
SMALL = ("100m", "256Mi", "1Gi")


def stage_job(job: FineTuneJob, stage: RunStage, retry: int, run: Run, endpoint: Endpoint) -> Object:
    """Return the Kubernetes Job of one stage, or of its `retry`-th repetition after a lost report."""
    meta = job.metadata
    labels = {
        **base_labels(names.LABEL_JOB, meta, stage.value),
        names.LABEL_STAGE: stage.value,
        names.LABEL_RETRY: str(retry),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.stage_job_name(meta.name, meta.uid, stage, retry),
            "namespace": meta.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(Kind.FINE_TUNE_JOB, meta)],
        },
        "spec": {
            "backoffLimit": job.spec.backoff_limit,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules(stage)},
            "template": {"metadata": {"labels": labels}, "spec": _pod(job, stage, run, endpoint)},
        },
    }


def _failure_rules(stage: RunStage) -> list[Object]:
    permanent = {"containerName": stage.value, "operator": "In", "values": sorted(int(c) for c in PERMANENT)}
    saved = {"containerName": stage.value, "operator": "In", "values": [int(ExitCode.SAVED_AND_STOPPED)]}
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return [
        {"action": "FailJob", "onExitCodes": permanent},
        *([{"action": "Ignore", "onExitCodes": saved}] if stage is RunStage.TRAIN else []),
        {"action": "Ignore", "onPodConditions": [disrupted]},
    ]


def _pod(job: FineTuneJob, stage: RunStage, run: Run, endpoint: Endpoint) -> Object:
    meta = job.metadata
    prefix = names.run_prefix(meta.name, meta.uid)
    volumes, mounts = _inputs(job, run) if stage is RunStage.PREPARE else ([], [])
    if stage is RunStage.PUBLISH:
        claim, _ = split_claim_uri(job.spec.output.storage_uri)
        volumes.append(claim_volume("output", claim, read_only=False))
        mounts.append({"name": "output", "mountPath": names.OUTPUT_MOUNT})
    sidecars: list[Object] = []
    if stage is RunStage.EVALUATE:
        sidecars = _sidecars(job, run)
        volumes += pack_volumes(run.config.policy, optional=False)
    files = [{"key": k, "path": k} for k in (names.RUN_CONFIG_FILE, names.CA_FILE)]
    pod: Object = {
        **pod_base(prefix, job.spec.placement),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS.get(stage, 30),
        "containers": [_container(job, stage, run, endpoint, mounts)],
        "volumes": [
            {"name": "run", "configMap": {"name": f"{prefix}-run", "items": files}},
            claim_volume("workspace", f"{prefix}-workspace", read_only=False),
            token_volume(meta),
            *(v for c in [stage.value, *(s["name"] for s in sidecars)] for v in scratch_volumes(c)),
            *volumes,
        ],
    }
    if sidecars:
        pod["initContainers"] = sidecars
    return pod


def _container(job: FineTuneJob, stage: RunStage, run: Run, endpoint: Endpoint, mounts: list[Object]) -> Object:
    meta, placement = job.metadata, job.spec.placement
    progress = {
        names.ENV_SERVER_URL: endpoint.base_url + names.progress_path(meta.namespace, meta.name),
        names.ENV_SERVER_CA: CA_PATH,
        names.ENV_SERVER_TOKEN: TOKEN_PATH,
    }
    if stage is RunStage.TRAIN:
        size = placement.resources
        needs = resources(size.cpu, size.memory, gpu=gpu(run.facts.profile, placement))
    else:
        cpu, memory, limit = LIGHT.get(stage, SMALL)
        needs = resources(cpu, memory, limit=limit)
    return {
        "name": stage.value,
        "image": run.config.images["trainer"],
        "args": [stage.value],
        "env": environment(**progress),
        "resources": needs,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePath": names.TERMINATION_LOG,
        "volumeMounts": [RUN_MOUNT, WORKSPACE_MOUNT, TOKEN_MOUNT, tmp_mount(stage.value), *mounts],
    }


def _sidecars(job: FineTuneJob, run: Run) -> list[Object]:
    """Return engine and verifier as native sidecars: they end with the evaluator, so the Job ends too."""
    engine = engine_container(
        run.facts.profile,
        job.spec.placement,
        image=run.config.images["engine"],
        model_path=f"{names.WORKSPACE_DIR}/base",
        max_lora_rank=run.config.max_lora_rank,
        mounts=[{**WORKSPACE_MOUNT, "readOnly": True}],
    )
    return [
        {**c, "restartPolicy": "Always"}
        for c in (engine, verifier_container(run.config.images["verifier"], run.config.policy))
    ]


def _inputs(job: FineTuneJob, run: Run) -> tuple[list[Object], list[Object]]:
    """Return the volumes and mounts of `prepare`: base, sources, suites, CAs and the live adapter."""
    base, _ = split_claim_uri(job.spec.base_model.storage_uri)
    volumes = [claim_volume("base", base, read_only=True)]
    mounts: list[Object] = [{"name": "base", "mountPath": names.BASE_MOUNT, "readOnly": True}]
    if run.facts.live_claim is not None:
        volumes.append(claim_volume("live", run.facts.live_claim, read_only=True))
        mounts.append({"name": "live", "mountPath": names.LIVE_MOUNT, "readOnly": True})
    groups: tuple[tuple[str, str, list[DataSource]], ...] = (
        ("source", names.SOURCES_MOUNT, list(job.spec.dataset.sources)),
        ("suite", names.SUITES_MOUNT, list(job.spec.evaluation.suites)),
    )
    for group, folder, sources in groups:
        for number, source in enumerate(sources):
            volume = _source(source, f"{group}-{number}")
            if volume is not None:
                volumes.append(volume)
                mounts.append({"name": volume["name"], "mountPath": f"{folder}/{source.name}", "readOnly": True})
    # Optional, as ConfigMaps of rows are: `prepare` waits for what is missing, and names it.
    return [*volumes, *pack_volumes(run.config.policy, optional=True)], [*mounts, *pack_mounts(run.config.policy)]


def _source(source: DataSource, volume: str) -> Object | None:
    """Return the volume that one source needs, if any. ConfigMaps are optional: `prepare` names a missing one."""
    if source.config_map is not None:
        return config_map_volume(volume, source.config_map.name, source.config_map.key, optional=True)
    if source.persistent_volume_claim is not None:
        return claim_volume(volume, source.persistent_volume_claim.claim_name, read_only=True)
    ca = next((s.ca_config_map_ref for s in (source.http, source.git) if s is not None), None)
    return config_map_volume(volume, ca.name, names.CA_FILE, optional=True) if ca is not None else None
