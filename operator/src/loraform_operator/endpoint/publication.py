"""How the endpoint becomes reachable: Secret with CA and certificate, selector-less Service, its EndpointSlice."""

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
from loraform_operator.endpoint.certificates import Pair, ca_is_good, leaf_is_good, make_ca, make_leaf
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.objects import Object

log = logging.getLogger(__name__)

SECRET = "loraform-operator-tls"  # noqa: S105 (an object's name)
LABELS = {names.LABEL_NAME: "loraform-operator", names.LABEL_MANAGED_BY: names.MANAGER}


@dataclass(frozen=True)
class Published:
    """The endpoint's address and the certificates behind it."""

    endpoint: Endpoint
    leaf: Pair


async def publish(cluster: Cluster, namespace: str, address: str, port: int, now: datetime) -> Published:
    """Make Service, EndpointSlice and certificates be what they must; done at start and again and again.

    `address` is the IP under which pods reach this process, `port` the one it listens on.
    """
    service = await _service(cluster, namespace)
    served = service["spec"]["ports"][0]
    addresses = tuple(a for a in (service["spec"].get("clusterIP"), address) if a and a != "None")
    await cluster.apply(_slice(namespace, served.get("name", ""), address, port))
    hosts = [
        *addresses,
        *(f"{names.SERVICE_OPERATOR}.{namespace}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local")),
    ]
    ca, leaf = await _certificates(cluster, namespace, hosts, now)
    host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    endpoint = Endpoint(f"https://{host}:{served['port']}", ca.certificate, addresses, namespace)
    return Published(endpoint, leaf)


def load_into(context: ssl.SSLContext, leaf: Pair) -> None:
    """Let `context` serve with `leaf`; open connections keep what they have."""
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads files only
        path = Path(folder) / "leaf.pem"
        path.touch(mode=0o600)
        path.write_text(leaf.key + leaf.certificate, encoding="ascii")
        context.load_cert_chain(path)


async def _service(cluster: Cluster, namespace: str) -> Object:
    found = await cluster.get("Service", namespace, names.SERVICE_OPERATOR)
    if found is not None:
        return found
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


async def _certificates(cluster: Cluster, namespace: str, hosts: list[str], now: datetime) -> tuple[Pair, Pair]:
    """Return CA and leaf from the Secret, made or renewed where needed."""
    found = await cluster.get("Secret", namespace, SECRET)
    ca, leaf = (_pair(found, "ca.crt", "ca.key"), _pair(found, "tls.crt", "tls.key")) if found else (None, None)
    if ca is None or not ca_is_good(ca, now):
        ca, leaf = make_ca(now), None
        log.info("made a new CA for the endpoint")
    if leaf is not None and leaf_is_good(leaf, ca, hosts, now):
        return ca, leaf
    leaf = make_leaf(ca, hosts, now)
    await _store(
        cluster,
        namespace,
        found,
        {"ca.crt": ca.certificate, "ca.key": ca.key, "tls.crt": leaf.certificate, "tls.key": leaf.key},
    )
    return ca, leaf


async def _store(cluster: Cluster, namespace: str, found: Object | None, data: dict[str, str]) -> None:
    meta: Object = {"name": SECRET, "namespace": namespace, "labels": LABELS}
    if found is not None:
        meta["resourceVersion"] = found["metadata"]["resourceVersion"]
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/tls", "data": encoded}
    await cluster.apply(secret)


def _pair(secret: Object, certificate: str, key: str) -> Pair | None:
    data = secret.get("data") or {}
    if not (data.get(certificate) and data.get(key)):
        return None
    return Pair(*(base64.b64decode(data[k]).decode() for k in (certificate, key)))
