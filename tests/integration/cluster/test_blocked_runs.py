"""Runs that wait for a claim, beside one that does not: real requests to a real API server, on a clock of the test.

There is no watch here, so nothing but the queue's own polls wakes a run.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kubernetes import client
from prometheus_client import CollectorRegistry

from loraform_api.names import Kind
from loraform_operator.context import Cache, Context, Endpoint, Key
from loraform_operator.endpoint.heartbeats import HeartbeatStore
from loraform_operator.endpoint.progress_store import ProgressStore
from loraform_operator.finetunejob.reconcile import reconcile
from loraform_operator.kube.cluster import Cluster, without_limit
from loraform_operator.kube.events import Recorder
from loraform_operator.kube.objects import Object
from loraform_operator.metrics import QueueMetrics
from loraform_operator.queue import Lane, Queue
from loraform_operator.settings import load_settings
from loraform_operator.waits import JITTER, LONGEST_POLL

from .conftest import print_line
from .operator_runs import Run

BLOCKED, WORKERS = 110, 8
READS_OF_A_PASS = 3
"""The run itself and its two claims."""
STEP, SETTLED = 2.0, 600.0
"""Seconds by which the clock goes on, and after which every run waits for the longest time."""
ENDPOINT = Endpoint("https://10.96.7.7:9443", "loraform-operator.system.svc", "CA\n", ("10.96.7.7",), "system")
SETTINGS = load_settings(Path(__file__).parents[2] / "cases" / "finetunejob" / "settings.yaml")


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until the condition holds."""
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 (the queue has no event for it)
            await asyncio.sleep(0.001)


class World:
    """The queue with the real reconcile, the API server's clients, and the clock."""

    def __init__(self, cluster: Cluster, requests: Counter[str], runs: dict[Key, list[Object]]) -> None:
        self.requests, self.runs = requests, runs
        self.begun: list[Key] = []
        self.ended: set[Key] = set()
        self._start, self._seconds = datetime.now(UTC), 0.0
        self.context = Context(
            settings=SETTINGS,
            cluster=cluster,
            cache=Cache(runs, {}),
            endpoint=ENDPOINT,
            events=Recorder(cluster, self.now),
            progress=ProgressStore(),
            heartbeats=HeartbeatStore(timedelta(seconds=15)),
            routes={},
            clock=self.now,
        )
        metrics = QueueMetrics(CollectorRegistry())
        self.queue = Queue(self._work, metrics, concurrency=WORKERS, resync=600, clock=lambda: self._seconds)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._seconds)

    async def _work(self, key: Key) -> float | None:
        self.begun.append(key)
        try:
            return await reconcile(self.context, key)
        finally:
            self.ended.add(key)

    async def idle(self) -> None:
        await until(lambda: not self.queue._running and not self.queue._depth())

    async def pass_time(self, seconds: float) -> Counter[str]:
        """Let the clock go on; return the requests by verb."""
        before = self.requests.copy()
        for _ in range(round(seconds / STEP)):
            self._seconds += STEP
            self.queue._changed.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await self.idle()
        return self.requests - before


@pytest.fixture
async def world(kubeconfig: Path, api: client.ApiClient, namespace: str) -> AsyncIterator[World]:
    """All runs are blocked, and were looked at once."""
    requests: Counter[str] = Counter()

    def count(method: str, host: str, status: int) -> None:
        requests[method] += 1

    def create(number: int) -> None:
        Run(api, namespace, f"blocked-{number}").create(output={"storageUri": "pvc://adapters/here"})

    with ThreadPoolExecutor(WORKERS) as creators:
        list(creators.map(create, range(BLOCKED)))
    cluster = await Cluster.connect(str(kubeconfig), count, without_limit)
    created = await cluster.list(Kind.FINE_TUNE_JOB.value, namespace)
    runs = {Key(Kind.FINE_TUNE_JOB, namespace, run["metadata"]["name"]): [run] for run in created}
    made = World(cluster, requests, runs)
    working = asyncio.create_task(made.queue.run())
    for key in runs:
        made.queue.wake(key, Lane.WAITING)
    await made.idle()
    yield made
    made.queue.stop()
    await working
    await cluster.close()


def told(requests: Counter[str], minutes: float) -> str:
    return ", ".join(f"{count / minutes:.0f} {verb}" for verb, count in sorted(requests.items())) or "none"


async def test_blocked_runs_cost_little_and_delay_no_other(
    world: World, api: client.ApiClient, namespace: str, pytestconfig: pytest.Config
) -> None:
    first = await world.pass_time(60)
    await world.pass_time(SETTLED - 60)
    later = await world.pass_time(LONGEST_POLL)
    print_line(
        pytestconfig,
        f"{BLOCKED} blocked runs, requests a minute: {told(first, 1)} in the first minute, "
        f"{told(later, LONGEST_POLL / 60)} after {SETTLED / 60:.0f} minutes",
    )
    assert set(later) == {"GET"}, "a run that still waits for the same is not written"
    assert LONGEST_POLL * (1 - JITTER) > LONGEST_POLL / 2
    assert later["GET"] <= 2 * BLOCKED * READS_OF_A_PASS, "none is looked at three times"
    assert later["GET"] >= BLOCKED * READS_OF_A_PASS, "each is looked at within the longest time"

    for key in world.runs:
        world.queue.wake(key, Lane.WAITING)
    world.begun.clear()
    await until(lambda: len(world.begun) == WORKERS)
    run = Run(api, namespace, "real")
    for claim in ("present", "adapters-present"):
        run.create_claim(claim)
    run.create(baseModel={"storageUri": "pvc://present/tiny"}, output={"storageUri": "pvc://adapters-present/here"})
    key = Key(Kind.FINE_TUNE_JOB, namespace, "real")
    world.runs[key] = [run.get()]
    world.begun.clear()
    woken = time.monotonic()
    world.queue.wake(key)
    await until(lambda: key in world.ended)
    seconds, before = time.monotonic() - woken, world.begun.index(key)
    print_line(pytestconfig, f"a real run behind {BLOCKED} polls: status after {seconds:.2f} s, {before} went first")
    assert run.condition("Ready")["reason"] == "Pending"
    assert before == 0
    await world.idle()
    assert len(set(world.begun)) > BLOCKED - WORKERS, "the others have their turn"
