"""Kubernetes objects as decoded JSON: their API versions, paths and conditions. Pure."""

from __future__ import annotations

from typing import Any

from loraform_api.names import API_VERSION, Kind

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as decoded JSON."""

PLURALS = {
    "ConfigMap": "configmaps",
    "ControllerRevision": "controllerrevisions",
    "Deployment": "deployments",
    "EndpointSlice": "endpointslices",
    "Event": "events",
    "Job": "jobs",
    "Lease": "leases",
    "NetworkPolicy": "networkpolicies",
    "PersistentVolume": "persistentvolumes",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "GitRepository": "gitrepositories",
    "OCIRepository": "ocirepositories",
    "Bucket": "buckets",
    **{kind.value: kind.plural for kind in Kind},
}
API_VERSIONS = {
    "ControllerRevision": "apps/v1",
    "Deployment": "apps/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "Job": "batch/v1",
    "Lease": "coordination.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    **dict.fromkeys(("GitRepository", "OCIRepository", "Bucket"), "source.toolkit.fluxcd.io/v1"),
    **{kind.value: API_VERSION for kind in Kind},
}
"""API version in use by kind; `v1` for a kind that is not listed."""


def api_version(kind: str) -> str:
    """Return the API version in which the operator reads and writes `kind`."""
    return API_VERSIONS.get(kind, "v1")


def path_of(kind: str, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
    """Return the API path of an object, or of the collection when `name` is None."""
    version = api_version(kind)
    parts = ["apis" if "/" in version else "api", version]
    if namespace is not None:
        parts += ["namespaces", namespace]
    return "/" + "/".join([*parts, PLURALS[kind], *(p for p in (name, subresource) if p)])


def condition_of(obj: Object, type_: str, status: str = "True") -> Object | None:
    """Return the condition of this type and status from an object's status, or None."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == type_ and c["status"] == status), None)
