"""Publishes the endpoint: Secret with CA and certificate, selector-less Service, EndpointSlice."""

from __future__ import annotations

import base64
import ipaddress
import logging
import ssl
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loraform_api import names
from loraform_operator.context import Endpoint
from loraform_operator.endpoint.certificates import KeyPair, ca_is_good, leaf_is_good, make_ca, make_leaf
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.objects import Object

log = logging.getLogger(__name__)

SECRET = "loraform-operator-tls"  # noqa: S105 (an object's name)
LABELS = {names.LABEL_NAME: "loraform-operator", names.LABEL_MANAGED_BY: names.MANAGER}


@dataclass(frozen=True)
class PublishedEndpoint:
    """The endpoint and its serving certificate."""

    endpoint: Endpoint
    leaf: KeyPair


async def publish(cluster: Cluster, namespace: str, address: str, port: int, now: datetime) -> PublishedEndpoint:
    """Create or update Service, EndpointSlice and certificates; called at start and at an interval.

    `address` is the IP at which pods reach this process, `port` the port that it listens on.
    """
    service = await _service(cluster, namespace)
    service_port = service["spec"]["ports"][0]
    addresses = tuple(a for a in (service["spec"].get("clusterIP"), address) if a and a != "None")
    await cluster.apply(_slice(namespace, service_port.get("name", ""), address, port))
    hosts = [
        *addresses,
        *(f"{names.SERVICE_OPERATOR}.{namespace}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local")),
    ]
    ca, leaf = await _certificates(cluster, namespace, hosts, now)
    host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    endpoint = Endpoint(f"https://{host}:{service_port['port']}", ca.certificate, addresses, namespace)
    return PublishedEndpoint(endpoint, leaf)


def load_into(context: ssl.SSLContext, leaf: KeyPair) -> None:
    """Load `leaf` into `context`; open connections keep their certificate."""
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads only files
        path = Path(folder) / "leaf.pem"
        path.touch(mode=0o600)
        path.write_text(leaf.key + leaf.certificate, encoding="ascii")
        context.load_cert_chain(path)


async def _service(cluster: Cluster, namespace: str) -> Object:
    existing = await cluster.get("Service", namespace, names.SERVICE_OPERATOR)
    if existing is not None:
        return existing
    ports = [{"name": "https", "port": names.PORT_OPERATOR, "protocol": "TCP"}]
    meta = {"name": names.SERVICE_OPERATOR, "namespace": namespace, "labels": LABELS}
    return await cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": ports}})


def _slice(namespace: str, port_name: str, address: str, port: int) -> Object:
    labels = {
        **LABELS,
        "kubernetes.io/service-name": names.SERVICE_OPERATOR,
        "endpointslice.kubernetes.io/managed-by": names.MANAGER,
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{names.SERVICE_OPERATOR}-1", "namespace": namespace, "labels": labels},
        "addressType": f"IPv{ipaddress.ip_address(address).version}",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
    }


async def _certificates(cluster: Cluster, namespace: str, hosts: list[str], now: datetime) -> tuple[KeyPair, KeyPair]:
    """Return CA and leaf from the Secret; creates or renews them when needed."""
    secret = await cluster.get("Secret", namespace, SECRET)
    ca, leaf = (
        (_key_pair(secret, "ca.crt", "ca.key"), _key_pair(secret, "tls.crt", "tls.key")) if secret else (None, None)
    )
    if ca is None or not ca_is_good(ca, now):
        ca, leaf = make_ca(now), None
        log.info("created a new CA for the endpoint")
    if leaf is not None and leaf_is_good(leaf, ca, hosts, now):
        return ca, leaf
    leaf = make_leaf(ca, hosts, now)
    await _store(
        cluster,
        namespace,
        secret,
        {"ca.crt": ca.certificate, "ca.key": ca.key, "tls.crt": leaf.certificate, "tls.key": leaf.key},
    )
    return ca, leaf


async def _store(cluster: Cluster, namespace: str, existing: Object | None, data: dict[str, str]) -> None:
    meta: Object = {"name": SECRET, "namespace": namespace, "labels": LABELS}
    if existing is not None:
        meta["resourceVersion"] = existing["metadata"]["resourceVersion"]
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/tls", "data": encoded}
    await cluster.apply(secret)


def _key_pair(secret: Object, certificate: str, key: str) -> KeyPair | None:
    data = secret.get("data") or {}
    if not (data.get(certificate) and data.get(key)):
        return None
    return KeyPair(*(base64.b64decode(data[k]).decode() for k in (certificate, key)))
