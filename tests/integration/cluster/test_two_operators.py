"""Two operators, one Lease: whatever happens to the one that leads, the other takes over and no late write counts.

Each operator has a proxy of its own before the real API server, which records what that operator wrote, and when.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client

from loraform_api import names

from ..waiting import wait_for
from .api_proxy import ApiProxy, Request
from .conftest import create_namespace, print_line
from .operator_runs import LEASE_SECONDS, Operator, Run

STATUS = "PATCH .*/finetunejobs/.*/status"
STOPPING = str(Path(__file__).with_name("stopping_operator.py"))


class Replica:
    """One operator, its proxy, and the file that makes it stop before a write."""

    def __init__(self, kubeconfig: Path, namespaces: list[str], address: str, folder: Path, lease_seconds: int) -> None:
        folder.mkdir()
        self.proxy, self._stop_at = ApiProxy(kubeconfig), folder / "stop-at"
        proxied = self.proxy.write_kubeconfig(folder / "kubeconfig")
        self.operator = Operator(
            proxied,
            namespaces,
            address,
            folder,
            program=(STOPPING, str(self._stop_at)),
            extra={"lease-seconds": lease_seconds},
        )

    def stop_before(self, pattern: str) -> None:
        self._stop_at.write_text(pattern)

    @property
    def stopped(self) -> bool:
        assert self.operator.process is not None
        status = Path(f"/proc/{self.operator.process.pid}/status").read_text()
        return "State:\tT" in status

    def signal(self, sign: signal.Signals) -> None:
        assert self.operator.process is not None
        self.operator.process.send_signal(sign)

    def await_end(self) -> int:
        assert self.operator.process is not None
        return self.operator.process.wait(60)


class Pair:
    """Two replicas of one operator, and the table of what happened to them."""

    def __init__(self, api: client.ApiClient, replicas: list[Replica], namespace: str) -> None:
        self.api, self.replicas, self.namespace = api, replicas, namespace
        self.table: list[str] = []

    def whole(self) -> tuple[Replica, Replica]:
        """Start what does not run; return who leads and who stands by."""
        for replica in self.replicas:
            if not replica.operator.running:
                replica.operator.spawn()
        for replica in self.replicas:
            wait_for("both replicas' readiness", lambda o=replica.operator: o.fetch("/readyz"))
        leader = wait_for("a leader", self._leader)
        return leader, next(r for r in self.replicas if r is not leader)

    def _leader(self) -> Replica | None:
        return next((r for r in self.replicas if r.operator.leads), None)

    def run(self, name: str) -> Run:
        return Run(self.api, self.namespace, name)

    def took_over(self, standby: Replica, since: float) -> float:
        """Wait until the standby leads; return the seconds since then."""
        wait_for("the standby leads", lambda: standby.operator.leads, 60)
        return time.monotonic() - since

    def record(self, case: str, seconds: float, late: list[Request]) -> None:
        effective = sum(r.status < 300 for r in late)
        refused = sum(r.status == 409 for r in late)
        self.table.append(f"{case:44} {seconds:16.1f} {effective:12} {refused:5}")


def print_table(config: pytest.Config, pair: Pair) -> None:
    head = f"{'the leader is':44} {'takeover seconds':>16} {'stale writes':>12} {'409s':>5}"
    for line in (head, *pair.table):
        print_line(config, line)


def make_pair(kubeconfig: Path, api: client.ApiClient, folder: Path, lease_seconds: int) -> Pair:
    namespace = create_namespace(api, **{"pod-security.kubernetes.io/enforce": "restricted"})
    node = client.CoreV1Api(api).list_node().items[0]
    address = next(a.address for a in node.status.addresses if a.type == "InternalIP")
    replicas = [Replica(kubeconfig, [namespace], address, folder / name, lease_seconds) for name in ("a", "b")]
    return Pair(api, replicas, namespace)


def end_pair(pair: Pair) -> None:
    for replica in pair.replicas:
        replica.proxy.heal()
        if replica.operator.running:
            replica.signal(signal.SIGCONT)
            replica.operator.stop(signal.SIGKILL)
        replica.proxy.close()
    client.CoreV1Api(pair.api).delete_namespace(pair.namespace)


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, kubeconfig: Path, api: client.ApiClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two operators with a short lease, which the module's tests share."""
    made = make_pair(kubeconfig, api, tmp_path_factory.mktemp("pair"), LEASE_SECONDS)
    try:
        Run(api, made.namespace).create_claim()
        yield made
        print_table(request.config, made)
    finally:
        end_pair(made)


def settled(run: Run) -> dict[str, str]:
    """Wait for the state in which a run waits for a node; return the resourceVersion of each of its objects."""
    run.await_condition("Ready", "False", "Unschedulable")
    return versions(run)


def versions(run: Run) -> dict[str, str]:
    """Return the resourceVersion of the run and of each object that it owns, by kind and name."""
    selector = f"{names.LABEL_JOB}={run.name}"
    networking = client.NetworkingV1Api(run.core.api_client)
    lists = {
        "ConfigMap": run.core.list_namespaced_config_map,
        "PersistentVolumeClaim": run.core.list_namespaced_persistent_volume_claim,
        "ServiceAccount": run.core.list_namespaced_service_account,
        "NetworkPolicy": networking.list_namespaced_network_policy,
        "Job": run.batch.list_namespaced_job,
    }
    found = {
        f"{kind} {o.metadata.name}": o.metadata.resource_version
        for kind, listed in lists.items()
        for o in listed(run.namespace, label_selector=selector).items
    }
    return {**found, "FineTuneJob": run.get()["metadata"]["resourceVersion"]}


def holder_port(pair: Pair) -> int:
    """Return the port behind the operator's Service: that of who published it last."""
    slices = client.DiscoveryV1Api(pair.api)
    found = slices.read_namespaced_endpoint_slice(f"{names.SERVICE_OPERATOR}-1", pair.namespace)
    return int(found.ports[0].port)


def stand_idle(pair: Pair, idle_seconds: float, lease_seconds: int) -> None:
    """Let both be for so long while a run waits for a node: nothing is written but the lease."""
    leader, standby = pair.whole()
    run = pair.run("idle")
    run.create()
    before = settled(run)
    assert holder_port(pair) == leader.operator.endpoint_port
    assert 'leader_election_master_status{name="loraform-operator"} 1.0' in (leader.operator.fetch("/metrics") or "")
    assert 'leader_election_master_status{name="loraform-operator"} 0.0' in (standby.operator.fetch("/metrics") or "")
    since = time.monotonic()
    wait_for("the idle time", lambda: time.monotonic() - since > idle_seconds, idle_seconds + 60)
    changes = leader.proxy.writes(since) + standby.proxy.writes(since)
    renewals = [r for r in leader.proxy.requests if r.method != "GET" and "/leases/" in r.path and r.at >= since]
    assert changes == []
    assert versions(run) == before
    assert standby.proxy.writes() == [], "a standby has never written anything"
    assert 1 <= len(renewals) <= idle_seconds / (lease_seconds * 2 / 15) + 1
    pair.table.append(
        f"idle for {idle_seconds} s: {len(changes)} writes of both, {len(renewals)} renewals of the lease"
    )


def test_one_writes_and_the_other_stands_by(pair: Pair) -> None:
    stand_idle(pair, 5, LEASE_SECONDS)


def test_a_leader_that_ends_hands_the_lease_over(pair: Pair) -> None:
    leader, standby = pair.whole()
    since = time.monotonic()
    leader.signal(signal.SIGTERM)
    seconds = pair.took_over(standby, since)
    assert leader.await_end() == 0
    assert holder_port(pair) == standby.operator.endpoint_port
    pair.record("ended (SIGTERM)", seconds, [])


def test_a_killed_leader_is_replaced(pair: Pair) -> None:
    leader, standby = pair.whole()
    since = time.monotonic()
    leader.signal(signal.SIGKILL)
    leader.await_end()
    run = pair.run("killed")
    run.create()
    seconds = pair.took_over(standby, since)
    settled(run)
    assert holder_port(pair) == standby.operator.endpoint_port
    pair.record("killed (SIGKILL)", seconds, [])


def freeze_and_thaw(pair: Pair, case: str, lease_seconds: int, past_lease: float) -> None:
    """Stop the leader for so long past its lease: it ends without having sent a write."""
    leader, standby = pair.whole()
    since = time.monotonic()
    leader.signal(signal.SIGSTOP)
    run = pair.run("frozen")
    run.create()
    seconds = pair.took_over(standby, since)
    taken = time.monotonic()
    before = settled(run)
    wait_for("the end of the freeze", lambda: time.monotonic() - since > lease_seconds + past_lease, 300)
    leader.signal(signal.SIGCONT)
    assert leader.await_end() == 1
    late = leader.proxy.writes(taken)
    assert late == []
    assert versions(run) == before
    assert standby.operator.leads
    pair.record(case, seconds, late)


def test_a_frozen_leader_writes_nothing_when_it_thaws(pair: Pair) -> None:
    freeze_and_thaw(pair, "frozen past its lease, thawed", LEASE_SECONDS, 1)


def test_a_write_that_was_checked_before_the_freeze_comes_too_late(pair: Pair) -> None:
    leader, standby = pair.whole()
    leader.stop_before(STATUS)
    run = pair.run("late")
    run.create()
    wait_for("the leader stops itself", lambda: leader.stopped)
    since = time.monotonic()
    seconds = pair.took_over(standby, since)
    taken = time.monotonic()
    before = settled(run)
    leader.signal(signal.SIGCONT)
    assert leader.await_end() == 1
    late = leader.proxy.writes(taken)
    assert [r.status for r in late] in ([], [409]), "the process may end before it sends it"
    assert versions(run) == before
    pair.record("stopped between check and send, thawed", seconds, late)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("status", STATUS),
        ("apply", "PATCH .*/networkpolicies/"),
        pytest.param("create", "POST .*/jobs", marks=pytest.mark.slow),
    ],
    ids=["status", "apply", "create"],
)
def test_a_leader_that_is_cut_off_ends_and_what_it_sent_comes_too_late(pair: Pair, name: str, write: str) -> None:
    leader, standby = pair.whole()
    leader.proxy.cut_at(write)
    run = pair.run(f"cut-off-{name}")
    run.create()
    wait_for("the cut", lambda: leader.proxy.is_cut)
    since = time.monotonic()
    seconds = pair.took_over(standby, since)
    taken = time.monotonic()
    assert leader.await_end() == 1
    before = settled(run)
    leader.proxy.heal()
    late = wait_for("the held write", lambda: leader.proxy.writes(taken))
    assert {r.status for r in late} == {409}
    assert versions(run) == before
    assert standby.operator.leads, "the renewals that were held come too late as well"
    pair.record(f"cut off before its {name} arrived, healed", seconds, late)


@pytest.mark.slow
def test_the_usual_lease_for_minutes(
    kubeconfig: Path, api: client.ApiClient, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    made = make_pair(kubeconfig, api, tmp_path, 15)
    try:
        Run(api, made.namespace).create_claim()
        stand_idle(made, 60, 15)
        freeze_and_thaw(made, "frozen 60 s past a lease of 15 s, thawed", 15, 60)
        print_table(pytestconfig, made)
    finally:
        end_pair(made)
