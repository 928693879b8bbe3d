"""What a real API server lets the operator's account do with the chart's roles: this table, and nothing beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client

from loraform_devcluster.binaries import Binaries
from loraform_devcluster.layout import CHECKOUT, DEFAULT_STATE, Layout, default_cache
from loraform_devcluster.progress import Progress

MAY = [
    ("list", "loraform.dev", "finetunejobs", ""),
    ("watch", "loraform.dev", "iacmodels", ""),
    ("patch", "loraform.dev", "finetunejobs/status", ""),
    ("update", "loraform.dev", "iacmodels/finalizers", ""),
    ("create", "batch", "jobs", ""),
    ("delete", "batch", "jobs", ""),
    ("create", "", "persistentvolumeclaims", ""),
    ("patch", "apps", "deployments", ""),
    ("create", "apps", "controllerrevisions", ""),
    ("patch", "networking.k8s.io", "networkpolicies", ""),
    ("list", "", "events", ""),
    ("get", "", "secrets", "loraform-operator-tls"),
    ("patch", "discovery.k8s.io", "endpointslices", "loraform-operator-1"),
    ("create", "coordination.k8s.io", "leases", "loraform-operator"),
    ("patch", "coordination.k8s.io", "leases", "loraform-operator"),
]
MAY_NOT = [
    ("get", "", "secrets", "somebody-elses"),
    ("list", "", "secrets", ""),
    ("create", "", "secrets", ""),
    ("create", "", "pods", ""),
    ("create", "", "pods/exec", ""),
    ("get", "", "pods/log", ""),
    ("patch", "batch", "jobs", ""),
    ("delete", "", "persistentvolumeclaims", ""),
    ("patch", "", "persistentvolumeclaims", ""),
    ("create", "loraform.dev", "finetunejobs", ""),
    ("patch", "loraform.dev", "iacmodels", ""),
    ("delete", "loraform.dev", "finetunejobs", ""),
    ("patch", "discovery.k8s.io", "endpointslices", "somebody-elses"),
    ("patch", "coordination.k8s.io", "leases", "somebody-elses"),
    ("delete", "coordination.k8s.io", "leases", "loraform-operator"),
    ("list", "coordination.k8s.io", "leases", ""),
    ("create", "", "serviceaccounts/token", ""),
    ("create", "rbac.authorization.k8s.io", "rolebindings", ""),
    ("bind", "rbac.authorization.k8s.io", "clusterroles", ""),
    ("impersonate", "", "users", ""),
]


def allowed(api: client.ApiClient, account_namespace: str, namespace: str, asked: tuple[str, str, str, str]) -> bool:
    """Ask the API server whether the operator's account may do it in `namespace`."""
    verb, group, resource, name = asked
    resource, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name}
    account = f"system:serviceaccount:{account_namespace}:loraform-operator"
    spec = {"user": account, "resourceAttributes": {**attributes, "namespace": namespace}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    return bool(client.AuthorizationV1Api(api).create_subject_access_review(body).status.allowed)


@contextmanager
def installed(kubeconfig: Path, namespace: str, *words: str) -> Iterator[None]:
    """Apply account and roles as the chart renders them, and take them away again."""
    binaries = Binaries(Layout(CHECKOUT, default_cache(), DEFAULT_STATE), Progress())
    only = [f"--show-only=templates/{name}.yaml" for name in ("rbac", "serviceaccount")]
    chart = str(CHECKOUT / "charts" / "loraform")
    template = [str(binaries.path("helm")), "template", "loraform", chart, f"--namespace={namespace}", *only, *words]
    rendered = subprocess.run(template, check=True, capture_output=True, text=True).stdout
    kubectl = [str(binaries.path("kubectl")), f"--kubeconfig={kubeconfig}"]
    subprocess.run([*kubectl, "apply", "-f", "-"], input=rendered, text=True, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*kubectl, "delete", "-f", "-"], input=rendered, text=True, check=True, capture_output=True)


@pytest.mark.parametrize("watch", ["", "--set=watchNamespaces={%s}"], ids=["every namespace", "named namespaces"])
def test_the_account_may_do_what_the_operator_needs_and_no_more(
    api: client.ApiClient, kubeconfig: Path, namespace: str, watch: str
) -> None:
    with installed(kubeconfig, namespace, *([watch % namespace] if watch else [])):
        assert [asked for asked in MAY if not allowed(api, namespace, namespace, asked)] == []
        assert [asked for asked in MAY_NOT if allowed(api, namespace, namespace, asked)] == []


def test_with_named_namespaces_it_may_do_nothing_elsewhere(
    api: client.ApiClient, kubeconfig: Path, namespace: str
) -> None:
    with installed(kubeconfig, namespace, f"--set=watchNamespaces={{{namespace}}}"):
        assert [asked for asked in MAY if allowed(api, namespace, "kube-system", asked)] == []
