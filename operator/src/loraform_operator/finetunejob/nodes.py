"""Training in several pods: an Indexed Job, the headless Service by which they meet, who may talk to whom. Pure."""

from __future__ import annotations

from loraform_api import names
from loraform_api.finetunejob import FineTuneJob
from loraform_api.names import RunStage
from loraform_operator.kube.objects import Object
from loraform_operator.settings import Profile


def parallelism(job: FineTuneJob) -> Object:
    """Return the part of the train Job's spec that says how many pods it has; each has a number and a host name."""
    count = job.spec.placement.nodes
    found: Object = {"completions": count, "parallelism": count}
    return {**found, "completionMode": "Indexed"} if count > 1 else found


def environment(job: FineTuneJob, profile: Profile, retry: int) -> dict[str, str]:
    """Return what tells train processes of each other; empty where there is only one."""
    meta, placement = job.metadata, job.spec.placement
    processes = placement.gpus if profile.gpu_resource_name else 1
    if placement.nodes * processes == 1:
        return {}
    first = f"{names.stage_job_name(meta.name, meta.uid, RunStage.TRAIN, retry)}-0"
    found = {names.ENV_NODES: str(placement.nodes), names.ENV_PROCESSES: str(processes)}
    host = f"{first}.{names.rendezvous_name(meta.name, meta.uid)}.{meta.namespace}.svc"
    return {**found, names.ENV_MASTER: host if placement.nodes > 1 else "127.0.0.1"}


def service_spec(job: FineTuneJob) -> Object:
    """Return the headless Service's spec: names for the pods, also before they are ready."""
    return {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": train_labels(job),
        "ports": [{"name": "rendezvous", "port": names.PORT_RENDEZVOUS, "protocol": "TCP"}],
    }


def train_labels(job: FineTuneJob) -> dict[str, str]:
    """Return the labels of the run's train pods alone."""
    return {names.LABEL_OWNER_UID: job.metadata.uid, names.LABEL_STAGE: RunStage.TRAIN.value}


def peers(job: FineTuneJob) -> tuple[list[Object], list[Object]]:
    """Return egress and ingress rules: train pods of the run talk to each other, on any port, and ask for names."""
    pods = [{"podSelector": {"matchLabels": train_labels(job)}}]
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    return [{"to": pods}, {"to": [{"namespaceSelector": {}}], "ports": ports}], [{"from": pods}]
