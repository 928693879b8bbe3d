"""Objects that make a bare cluster usable: DNS, a default StorageClass, and what CoreDNS may read."""

from __future__ import annotations

from typing import Any

import yaml

from loraform_devcluster import config

STORAGE_CLASS = "loraform-local"
PROVISIONER = "loraform.dev/devcluster"
RBAC = "rbac.authorization.k8s.io"


def manifests() -> str:
    """Render all objects as one YAML stream."""
    return yaml.safe_dump_all([*_coredns_rights(), _storage_class(), *_dns_service()], sort_keys=False)


def _rbac(kind: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": "loraform-coredns"}, **rest}


def _coredns_rights() -> list[dict[str, Any]]:
    read = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "namespaces", "pods"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
    ]
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "loraform-coredns"}
    user = {"apiGroup": RBAC, "kind": "User", "name": "loraform:coredns"}
    return [_rbac("ClusterRole", rules=rules), _rbac("ClusterRoleBinding", roleRef=role, subjects=[user])]


def _storage_class() -> dict[str, Any]:
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": default},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _dns_service() -> list[dict[str, Any]]:
    """Return the Service at the address that pods ask, and the EndpointSlice that leads it to CoreDNS on the host."""
    meta = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [{"name": "dns", "protocol": "UDP"}, {"name": "dns-tcp", "protocol": "TCP"}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**meta, "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
        "spec": {
            "clusterIP": config.DNS_SERVICE,
            "ports": [{**port, "port": 53, "targetPort": config.DNS_PORT} for port in ports],
        },
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [config.NODE_ADDRESS], "conditions": {"ready": True}}],
        "ports": [{**port, "port": config.DNS_PORT} for port in ports],
    }
    return [service, endpoints]
