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
from loraform_operator.kube.apply import ensure
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.objects import Object

log = logging.getLogger(__name__)

SECRET_SUFFIX = "-tls"  # noqa: S105 (part of an object's name)
SLICE_SUFFIX = "-1"
LABELS = {names.LABEL_NAME: "loraform-operator", names.LABEL_MANAGED_BY: names.MANAGER}


@dataclass(frozen=True)
class Place:
    """Namespace of the operator's own objects, and the name from which theirs are made."""

    namespace: str
    name: str
    """Name of the operator's Service, and of its Lease."""


@dataclass(frozen=True)
class Process:
    """Where this process is reached."""

    address: str
    """IP address at which pods reach it."""
    port: int
    """Port that it listens on."""
    in_pod: bool
    """Whether it runs in a pod of the operator, which network policies select by its labels."""


@dataclass(frozen=True)
class PublishedEndpoint:
    """The endpoint and its serving certificate."""

    endpoint: Endpoint
    leaf: KeyPair


async def publish(cluster: Cluster, place: Place, process: Process, now: datetime) -> PublishedEndpoint:
    """Create or update Service, EndpointSlice and certificates; called when this process leads, and at an interval.

    The certificate is for the Service's names, so neither another address nor another leader needs a new one.
    """
    service = await _service(cluster, place)
    service_port = service["spec"]["ports"][0]
    address = service["spec"]["clusterIP"]
    endpoints = _slice(place, service_port.get("name", ""), process)
    observed = await cluster.get("EndpointSlice", place.namespace, endpoints["metadata"]["name"])
    await ensure(cluster, endpoints, observed)
    domain = f"{place.name}.{place.namespace}"
    hosts = [f"{domain}{suffix}" for suffix in (".svc", "", ".svc.cluster.local")]
    ca, leaf = await _certificates(cluster, place, hosts, now)
    host = f"[{address}]" if ":" in address else address
    endpoint = Endpoint(
        base_url=f"https://{host}:{service_port['port']}",
        server_name=hosts[0],
        ca=ca.certificate,
        addresses=(address, *([] if process.in_pod else [process.address])),
        namespace=place.namespace,
    )
    return PublishedEndpoint(endpoint, leaf)


def load_into(context: ssl.SSLContext, leaf: KeyPair) -> None:
    """Load `leaf` into `context`; open connections keep their certificate."""
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads only files
        path = Path(folder) / "leaf.pem"
        path.touch(mode=0o600)
        path.write_text(leaf.key + leaf.certificate, encoding="ascii")
        context.load_cert_chain(path)


async def _service(cluster: Cluster, place: Place) -> Object:
    existing = await cluster.get("Service", place.namespace, place.name)
    if existing is not None:
        return existing
    ports = [{"name": "https", "port": names.PORT_OPERATOR, "protocol": "TCP"}]
    meta = {"name": place.name, "namespace": place.namespace, "labels": LABELS}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": ports}}
    return await ensure(cluster, service, None)


def _slice(place: Place, port_name: str, process: Process) -> Object:
    labels = {
        **LABELS,
        "kubernetes.io/service-name": place.name,
        "endpointslice.kubernetes.io/managed-by": names.MANAGER,
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": place.name + SLICE_SUFFIX, "namespace": place.namespace, "labels": labels},
        "addressType": f"IPv{ipaddress.ip_address(process.address).version}",
        "endpoints": [{"addresses": [process.address], "conditions": {"ready": True}}],
        "ports": [{"name": port_name, "port": process.port, "protocol": "TCP"}],
    }


async def _certificates(cluster: Cluster, place: Place, hosts: list[str], now: datetime) -> tuple[KeyPair, KeyPair]:
    """Return CA and leaf from the Secret; creates or renews them when needed."""
    secret = await cluster.get("Secret", place.namespace, place.name + SECRET_SUFFIX)
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
        place,
        secret,
        {"ca.crt": ca.certificate, "ca.key": ca.key, "tls.crt": leaf.certificate, "tls.key": leaf.key},
    )
    return ca, leaf


async def _store(cluster: Cluster, place: Place, existing: Object | None, data: dict[str, str]) -> None:
    meta: Object = {"name": place.name + SECRET_SUFFIX, "namespace": place.namespace, "labels": LABELS}
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/tls", "data": encoded}
    await cluster.apply(secret, existing)


def _key_pair(secret: Object, certificate: str, key: str) -> KeyPair | None:
    data = secret.get("data") or {}
    if not (data.get(certificate) and data.get(key)):
        return None
    return KeyPair(*(base64.b64decode(data[k]).decode() for k in (certificate, key)))
