"""An outage of the API server: the operator ends with its lease, the next one waits, and nothing is lost or doubled.

The cluster's one API server is stopped for it and comes back with the same address, certificate and store; the test
ends when the rest of the cluster has found it again, so that the tests that follow see nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kubernetes import client
from prometheus_client.parser import text_string_to_metric_families

from loraform_api import names
from loraform_devcluster import components
from loraform_devcluster.binaries import Binaries
from loraform_devcluster.layout import CHECKOUT, DEFAULT_STATE, Layout, default_cache
from loraform_devcluster.processes import Processes
from loraform_devcluster.progress import Progress

from ..waiting import wait_for
from .operator_runs import PREPARED, Operator, Run

NOTICED_SECONDS = 120
"""Until the process has ended, and the next one has tried to reach the API server."""
RECONNECTED_SECONDS = 180
"""Until operator, Job controller and scheduler watch again: each one's pauses have grown to half a minute and more."""


@contextmanager
def api_server_away() -> Iterator[None]:
    """Stop the cluster's API server, and start it again whatever happens meanwhile."""
    layout = Layout(CHECKOUT, default_cache(), DEFAULT_STATE)
    daemon, processes = components.api_server(layout, Binaries(layout, Progress())), Processes(layout)
    stopped = processes.running(daemon.name)
    assert stopped is not None, "the cluster of this session is not the one-machine cluster"
    processes.stop(daemon.name)
    try:
        yield
    finally:
        processes.ensure(daemon)
    assert processes.running(daemon.name) != stopped


def counted(operator: Operator, metric: str, **labels: str) -> float:
    """Return the sum of a counter's series that have these labels."""
    families = text_string_to_metric_families(operator.fetch("/metrics") or "")
    samples = (s for family in families for s in family.samples if s.name == metric)
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def unanswered_requests(operator: Operator) -> float:
    return counted(operator, "rest_client_requests_total", code="<error>")


def node_is_whole(api: client.ApiClient) -> bool:
    """Say whether the node is ready and takes pods: an outage can make the node controller doubt it for a while."""
    (node,) = client.CoreV1Api(api).list_node().items
    ready = next(c.status for c in node.status.conditions if c.type == "Ready")
    return ready == "True" and not node.spec.taints


@pytest.mark.chaos
def test_nothing_is_lost_or_doubled_by_an_outage_of_the_api_server(
    lone_operator: Operator, api: client.ApiClient
) -> None:
    operator, namespace = lone_operator, lone_operator.take_namespace()
    first, second = Run(api, namespace), Run(api, namespace, "second")
    first.create_claim()
    first.create()
    first.pod("prepare")
    jobs, pod = first.jobs(), first.pod("prepare").metadata.uid
    with api_server_away():
        assert operator.process.wait(NOTICED_SECONDS) == 1, "it could not renew its lease"
        operator.spawn()  # as the kubelet does
        wait_for("the next process tries", lambda: unanswered_requests(operator) > 0, NOTICED_SECONDS)
        process = operator.process
        assert process.poll() is None, operator.log.read_text()[-4000:]

    second.create()
    second.await_condition("Ready", "False", "Unschedulable", RECONNECTED_SECONDS)
    assert first.jobs() == jobs, "the first run's Job is neither doubled nor made anew"
    assert first.pod("prepare").metadata.uid == pod
    first.end("prepare", PREPARED)
    first.await_condition("DatasetReady", "True", "Prepared")
    prefix = names.run_prefix(first.name, first.get()["metadata"]["uid"])
    wait_for("the train Job alone", lambda: set(first.jobs()) == {f"{prefix}-train"})
    second.pod("prepare")
    assert operator.process is process and process.poll() is None, operator.log.read_text()[-4000:]
    wait_for("the node", lambda: node_is_whole(api), RECONNECTED_SECONDS)
