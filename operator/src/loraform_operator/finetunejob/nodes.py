"""Training in several pods: Indexed Job, headless Service for the rendezvous, network rules. Pure."""

from __future__ import annotations

from loraform_api import names
from loraform_api.finetunejob import FineTuneJob
from loraform_api.names import RunStage
from loraform_operator.kube.objects import Object
from loraform_operator.pods.engine import EngineSettings


def parallelism(job: FineTuneJob) -> Object:
    """Return `completions` and `parallelism` of the train Job; several pods make an Indexed Job with host names."""
    count = job.spec.placement.nodes
    counts: Object = {"completions": count, "parallelism": count}
    return {**counts, "completionMode": "Indexed"} if count > 1 else counts


def environment(job: FineTuneJob, engine: EngineSettings, retry: int) -> dict[str, str]:
    """Return the environment by which train processes find each other; empty for a single process."""
    meta, placement = job.metadata, job.spec.placement
    processes = placement.gpus if engine.gpu_resource_name else 1
    if placement.nodes * processes == 1:
        return {}
    first = f"{names.stage_job_name(meta.name, meta.uid, RunStage.TRAIN, retry)}-0"
    counts = {names.ENV_NODES: str(placement.nodes), names.ENV_PROCESSES: str(processes)}
    host = f"{first}.{names.rendezvous_name(meta.name, meta.uid)}.{meta.namespace}.svc"
    return {**counts, names.ENV_MASTER: host if placement.nodes > 1 else "127.0.0.1"}


def service_spec(job: FineTuneJob) -> Object:
    """Return the headless Service's spec; it also publishes pods that are not ready yet."""
    return {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": train_labels(job),
        "ports": [{"name": "rendezvous", "port": names.PORT_RENDEZVOUS, "protocol": "TCP"}],
    }


def train_labels(job: FineTuneJob) -> dict[str, str]:
    """Return the labels that only the run's train pods have."""
    return {names.LABEL_OWNER_UID: job.metadata.uid, names.LABEL_STAGE: RunStage.TRAIN.value}


def peer_rules(job: FineTuneJob) -> tuple[list[Object], list[Object]]:
    """Return egress and ingress rules that let the train pods reach each other on any port, and DNS."""
    pods = [{"podSelector": {"matchLabels": train_labels(job)}}]
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    return [{"to": pods}, {"to": [{"namespaceSelector": {}}], "ports": ports}], [{"from": pods}]
