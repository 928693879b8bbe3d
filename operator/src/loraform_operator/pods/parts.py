"""Parts of pod specs that both kinds use: security contexts, volumes, environment, resources, verifier. Pure."""

from __future__ import annotations

from loraform_api import names
from loraform_api.endpoint import OperatorEndpoint
from loraform_api.finetunejob import PlacementSpec
from loraform_api.meta import ObjectMeta
from loraform_api.sources import Access
from loraform_api.verification import HousePolicy
from loraform_operator.context import Endpoint
from loraform_operator.kube.objects import Object
from loraform_operator.pods.probes import START_SECONDS, loopback_probes

UID = 65532
"""User and group of all pods; also fsGroup, so that stages share the workspace."""
VERIFIER_UID = 65533
"""The verifier has its own user: Terraform processes run as it and own no other file in the pod."""
TOKEN_SECONDS = 3600

CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}
VERIFIER_SECURITY = {**CONTAINER_SECURITY, "runAsUser": VERIFIER_UID}

POD_SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": UID,
    "runAsGroup": UID,
    "fsGroup": UID,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}

SHM_SIZE = "1Gi"
"""Limit of the engine's `/dev/shm`; its content counts as memory of the container."""


def pod_base(service_account: str, placement: PlacementSpec) -> Object:
    """Return the fields that every pod spec has; no API token is mounted."""
    spec: Object = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
    }
    if placement.node_selector:
        spec["nodeSelector"] = dict(placement.node_selector)
    if placement.tolerations:
        spec["tolerations"] = [
            {k: v for k, v in t.model_dump(mode="json").items() if v != ""} for t in placement.tolerations
        ]
    return spec


def resources(cpu: str, memory: str, *, limit: str | None = None, gpu: dict[str, str] | None = None) -> Object:
    """Return requests and limits: the memory limit is `limit`, else `memory`; CPU is not limited."""
    extra = gpu or {}
    return {"requests": {"cpu": cpu, "memory": memory, **extra}, "limits": {"memory": limit or memory, **extra}}


def scratch_volumes(container: str) -> list[Object]:
    """Return the `/tmp` volume of one container, and for the engine also its shared memory."""
    volumes: list[Object] = [{"name": f"tmp-{container}", "emptyDir": {}}]
    if container == names.CONTAINER_ENGINE:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHM_SIZE}})
    return volumes


def shm_mount() -> Object:
    """Return the mount of the engine's `/dev/shm`: the default of 64 MiB is too small for its processes."""
    return {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108 (an emptyDir of the pod)


def tmp_mount(container: str) -> Object:
    return {"name": f"tmp-{container}", "mountPath": "/tmp"}  # noqa: S108 (an emptyDir of the pod)


def token_volume(owner: ObjectMeta) -> Object:
    """Return the volume of a service-account token that only the operator's endpoint accepts, for this owner only."""
    token = {
        "audience": names.audience(owner.namespace, owner.name, owner.uid),
        "expirationSeconds": TOKEN_SECONDS,
        "path": names.TOKEN_FILE,
    }
    return {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}


TOKEN_MOUNT = {"name": "token", "mountPath": names.TOKEN_DIR, "readOnly": True}
ENDPOINT_MOUNT = {"name": "endpoint", "mountPath": names.ENDPOINT_DIR, "readOnly": True}
ENDPOINT_FILES = {
    names.ENV_ENDPOINT: f"{names.ENDPOINT_DIR}/{names.ENDPOINT_FILE}",
    names.ENV_TOKEN: f"{names.TOKEN_DIR}/{names.TOKEN_FILE}",
}
"""Environment of a container that sends to the operator."""


def endpoint_volume(config_map: str) -> Object:
    """Return the volume of the operator's address; the whole ConfigMap, so that the kubelet follows its changes."""
    return {"name": "endpoint", "configMap": {"name": config_map}}


def endpoint_data(endpoint: Endpoint, path: str) -> dict[str, str]:
    """Return the data of that ConfigMap for pods that send to this path of the operator."""
    described = OperatorEndpoint(url=endpoint.base_url + path, server_name=endpoint.server_name, ca=endpoint.ca)
    return {names.ENDPOINT_FILE: described.model_dump_json(by_alias=True)}


def claim_volume(name: str, claim: str, *, read_only: bool) -> Object:
    return {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}


def environment(**values: str) -> list[Object]:
    """Return sorted `env` entries: `values`, a writable home, an offline Hugging Face hub, and the pod's name."""
    fixed = {"HF_HUB_OFFLINE": "1", "HOME": "/tmp", **values}  # noqa: S108 (an emptyDir of the pod)
    pod_name = {"name": names.ENV_POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    return [*({"name": k, "value": v} for k, v in sorted(fixed.items())), pod_name]


def verifier_container(image: str, policy: HousePolicy | None) -> Object:
    """Return the verifier container, which serves on the pod's loopback. It mounts only its `/tmp` and policy packs."""
    packs = pack_mounts(policy)
    return {
        "name": names.CONTAINER_VERIFIER,
        "image": image,
        "args": ["serve", *(["--packs", names.PACKS_MOUNT] if packs else [])],
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 (an emptyDir of the pod)
        **loopback_probes(names.PORT_VERIFIER, "/healthz", start_seconds=START_SECONDS),
        "resources": resources("100m", "512Mi", limit="3Gi"),
        "securityContext": VERIFIER_SECURITY,
        "volumeMounts": [tmp_mount(names.CONTAINER_VERIFIER), *packs],
    }


def config_map_volume(volume: str, name: str, key: str, *, optional: bool, path: str | None = None) -> Object:
    """Return the volume of one key of a ConfigMap, as a file named `path`, by default like the key."""
    items = [{"key": key, "path": path or key}]
    return {"name": volume, "configMap": {"name": name, "optional": optional, "items": items}}


def secret_volume(volume: str, name: str, keys: list[str]) -> Object:
    """Return the volume of fixed keys of a Secret. They are optional: the pod starts, and names what is missing."""
    items = [{"key": key, "path": key} for key in keys]
    return {"name": volume, "secret": {"secretName": name, "items": items, "optional": True, "defaultMode": 0o440}}


def access_volume(volume: str, access: Access | None) -> Object | None:
    """Return the volume of credentials and CA for a remote URI, None when it needs neither.

    Only the fixed keys of a Secret are mounted. All are optional: the pod starts, and names what is missing.
    """
    sources: list[Object] = []
    if access is not None and access.ca_config_map_ref is not None:
        items = [{"key": names.CA_FILE, "path": names.CA_FILE}]
        sources.append({"configMap": {"name": access.ca_config_map_ref.name, "items": items, "optional": True}})
    if access is not None and access.secret_ref is not None:
        items = [{"key": key, "path": key} for key in names.ACCESS_FILES]
        sources.append({"secret": {"name": access.secret_ref.name, "items": items, "optional": True}})
    return {"name": volume, "projected": {"defaultMode": 0o440, "sources": sources}} if sources else None


def pack_volumes(policy: HousePolicy | None, *, optional: bool) -> list[Object]:
    """Return one volume per pack of a policy."""
    return [
        config_map_volume(
            f"pack-{number}", pack.config_map.name, pack.config_map.key, path=names.PACK_FILE, optional=optional
        )
        for number, pack in enumerate(policy.packs if policy else ())
    ]


def pack_mounts(policy: HousePolicy | None) -> list[Object]:
    """Return the mounts of `pack_volumes`."""
    return [
        {"name": f"pack-{number}", "mountPath": f"{names.PACKS_MOUNT}/{pack.name}", "readOnly": True}
        for number, pack in enumerate(policy.packs if policy else ())
    ]
