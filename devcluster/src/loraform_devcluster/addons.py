"""Knows the objects that make a bare cluster usable: DNS, a default StorageClass, and what CoreDNS may read."""

from __future__ import annotations

from typing import Any

import yaml

from loraform_devcluster import config

STORAGE_CLASS = "loraform-local"
PROVISIONER = "loraform.dev/devcluster"


def _rbac(kind: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, **rest}


def manifests() -> str:
    """Render all objects as one YAML stream."""
    read = ["list", "watch"]
    group = "rbac.authorization.k8s.io"
    ports = [
        {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": config.DNS_PORT},
        {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": config.DNS_PORT},
    ]
    dns = {"name": "kube-dns", "namespace": "kube-system"}
    objects: list[dict[str, Any]] = [
        _rbac(
            "ClusterRole",
            "loraform-coredns",
            rules=[
                {"apiGroups": [""], "resources": ["services", "namespaces", "pods"], "verbs": read},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
            ],
        ),
        _rbac(
            "ClusterRoleBinding",
            "loraform-coredns",
            roleRef={"apiGroup": group, "kind": "ClusterRole", "name": "loraform-coredns"},
            subjects=[{"apiGroup": group, "kind": "User", "name": "loraform:coredns"}],
        ),
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**dns, "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
            "spec": {"clusterIP": config.DNS_SERVICE, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**dns, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [config.NODE_ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": p["name"], "protocol": p["protocol"], "port": config.DNS_PORT} for p in ports],
        },
    ]
    return yaml.safe_dump_all(objects, sort_keys=False)
