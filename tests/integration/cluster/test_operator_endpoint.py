"""What the operator publishes about itself in a real API server: one certificate for each leader and address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loraform_operator.context import Endpoint
from loraform_operator.endpoint.publication import SECRET_SUFFIX, Place, Process, publish
from loraform_operator.kube.cluster import Cluster, without_limit

NAME = "loraform-operator"
LEADER, NEXT_LEADER = (Process(address, 9443, in_pod=True) for address in ("10.88.0.8", "10.88.0.9"))


@pytest.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    made = await Cluster.connect(str(kubeconfig), lambda *_: None, without_limit)
    yield made
    await made.close()


async def endpoint_of(cluster: Cluster, namespace: str, process: Process) -> Endpoint:
    return (await publish(cluster, Place(namespace, NAME), process, datetime.now(UTC))).endpoint


async def certificate(cluster: Cluster, namespace: str) -> str:
    """Return the version of the Secret with the certificate."""
    secret = await cluster.get("Secret", namespace, NAME + SECRET_SUFFIX)
    assert secret is not None
    return str(secret["metadata"]["resourceVersion"])


async def test_another_leader_changes_the_endpoint_slice_alone(cluster: Cluster, namespace: str) -> None:
    before = await endpoint_of(cluster, namespace, LEADER)
    made = await certificate(cluster, namespace)
    assert await endpoint_of(cluster, namespace, NEXT_LEADER) == before
    assert await certificate(cluster, namespace) == made
    (slice_,) = await cluster.list("EndpointSlice", namespace)
    assert [e["addresses"] for e in slice_["endpoints"]] == [[NEXT_LEADER.address]]


async def test_a_service_made_anew_keeps_name_and_certificate(cluster: Cluster, namespace: str) -> None:
    before = await endpoint_of(cluster, namespace, LEADER)
    made = await certificate(cluster, namespace)
    service = await cluster.get("Service", namespace, NAME)
    assert service is not None
    assert before.addresses == (service["spec"]["clusterIP"],)
    await cluster.delete("Service", namespace, NAME, service["metadata"]["uid"])
    after = await endpoint_of(cluster, namespace, LEADER)
    again = await cluster.get("Service", namespace, NAME)
    assert again is not None and again["metadata"]["uid"] != service["metadata"]["uid"]
    address = again["spec"]["clusterIP"]
    assert (after.base_url, after.addresses) == (f"https://{address}:9443", (address,))
    assert after.server_name == f"{NAME}.{namespace}.svc"
    assert (after.server_name, after.ca) == (before.server_name, before.ca)
    assert await certificate(cluster, namespace) == made


async def test_policies_need_the_address_of_an_operator_outside_a_pod(cluster: Cluster, namespace: str) -> None:
    outside = Process("192.0.2.7", 19443, in_pod=False)
    endpoint = await endpoint_of(cluster, namespace, outside)
    assert endpoint.addresses[1:] == ("192.0.2.7",)
