"""Network policies of the pods. Defence in depth: a CNI may ignore them, so no protection relies on them."""

from __future__ import annotations

import ipaddress

from loraform_api.names import LABEL_NAME, PORT_OPERATOR
from loraform_operator.context import Endpoint
from loraform_operator.kube.objects import Object

OPERATOR_NAME = "loraform-operator"
"""`app.kubernetes.io/name` of the operator's own pods."""
PUBLIC = {"0.0.0.0/0": ["169.254.0.0/16"], "::/0": ["fe80::/10", "fd00:ec2::254/128"]}
"""All addresses, with the link-local and cloud metadata addresses that are excluded."""


def network_policy(selector: Object, *, egress: list[Object], ingress: list[Object] | None = None) -> Object:
    """Return the spec of a policy that refuses all traffic of the selected pods that is not listed."""
    return {
        "podSelector": selector,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress or [],
        "egress": egress,
    }


def egress_to_operator(endpoint: Endpoint) -> list[Object]:
    """Return rules for the operator's port: by pod labels, and by address for CNIs that match before translation."""
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": endpoint.namespace}},
        "podSelector": {"matchLabels": {LABEL_NAME: OPERATOR_NAME}},
    }
    addresses = [{"ipBlock": {"cidr": _host(a)}} for a in endpoint.addresses]
    return [{"to": [operator, *addresses], "ports": [{"port": PORT_OPERATOR, "protocol": "TCP"}]}]


def egress_to_world() -> list[Object]:
    """Return rules for all addresses except link-local and metadata addresses."""
    return [{"to": [{"ipBlock": {"cidr": cidr, "except": excluded}} for cidr, excluded in PUBLIC.items()]}]


def _host(address: str) -> str:
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
