"""Egress and ingress rules of our pods. Defence in depth: a CNI may ignore them, and nothing here relies on them."""

from __future__ import annotations

import ipaddress

from loraform_api.names import LABEL_NAME, PORT_OPERATOR
from loraform_operator.context import Endpoint
from loraform_operator.kube.objects import Object

OPERATOR_NAME = "loraform-operator"
"""`app.kubernetes.io/name` of the operator's own pods."""
FORBIDDEN = {"0.0.0.0/0": ["169.254.0.0/16"], "::/0": ["fe80::/10", "fd00:ec2::254/128"]}
"""The world, less link-local and cloud metadata addresses."""


def network_policy(selector: Object, *, egress: list[Object], ingress: list[Object] | None = None) -> Object:
    """Return a policy spec for the pods of `selector`: what is not listed is refused, in both directions."""
    return {
        "podSelector": selector,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress or [],
        "egress": egress,
    }


def egress_to_operator(endpoint: Endpoint) -> list[Object]:
    """Allow the operator's port: by its pods' labels and, as CNIs differ in what they see, by each address of it."""
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": endpoint.namespace}},
        "podSelector": {"matchLabels": {LABEL_NAME: OPERATOR_NAME}},
    }
    addresses = [{"ipBlock": {"cidr": _host(a)}} for a in endpoint.peers]
    return [{"to": [operator, *addresses], "ports": [{"port": PORT_OPERATOR, "protocol": "TCP"}]}]


def egress_to_world() -> list[Object]:
    """Allow everything but link-local and metadata addresses."""
    return [{"to": [{"ipBlock": {"cidr": cidr, "except": excluded}} for cidr, excluded in FORBIDDEN.items()]}]


def _host(address: str) -> str:
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
