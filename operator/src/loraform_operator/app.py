"""The running operator: wiring, start, stop, and its two web servers.

Each process watches and serves its health. The one that holds the lease also publishes the endpoint and reconciles;
when it loses the lease, it ends at once.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from loraform_api.names import PORT_METRICS, PORT_OPERATOR, SERVICE_OPERATOR, Kind
from loraform_operator.context import Cache, Context, Key
from loraform_operator.endpoint import publication, server
from loraform_operator.endpoint.heartbeats import HeartbeatStore, RouteStore
from loraform_operator.endpoint.progress_store import ProgressStore
from loraform_operator.endpoint.tokens import TokenVerifier
from loraform_operator.finetunejob.reconcile import reconcile as reconcile_job
from loraform_operator.iacmodel.metrics import ModelCollector
from loraform_operator.iacmodel.reconcile import reconcile as reconcile_model
from loraform_operator.kube.backoffs import Backoffs
from loraform_operator.kube.cluster import Cluster, without_limit
from loraform_operator.kube.errors import ClusterError
from loraform_operator.kube.events import Note, Recorder
from loraform_operator.kube.objects import path_of
from loraform_operator.leadership.elector import Elector
from loraform_operator.leadership.lease import Terms
from loraform_operator.metrics import QueueMetrics, RequestMetrics, ResourceCollector, add_build_info, add_leadership
from loraform_operator.queue import Lane, Queue
from loraform_operator.settings import Settings
from loraform_operator.sweep import sweep

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Reconcile = Callable[[Context, Key], Awaitable[float | None]]
RECONCILERS: dict[Kind, Reconcile] = {Kind.FINE_TUNE_JOB: reconcile_job, Kind.IAC_MODEL: reconcile_model}
UPKEEP_SECONDS = 300.0
TICK_SECONDS = 1.0
MAX_LAG_SECONDS = 10.0
"""Lag of the event loop above which the process counts as unhealthy."""
STOP_SECONDS = 20.0
IDLE_SECONDS = 75.0
"""Longest silence of a connection; gateways and agents send heartbeats more often."""


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    operator_namespace: str
    advertise_address: str
    """IP address at which pods reach this process."""
    in_pod: bool = True
    """Whether this process runs in a pod of the operator's Deployment."""
    name: str = SERVICE_OPERATOR
    """Name of the Lease and of the Service; operators that share it replace each other."""
    identity: str = "operator"
    """This process, as holder of the lease."""
    lease_seconds: int = 15
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty means all."""
    kubeconfig: str | None = None
    endpoint_port: int = PORT_OPERATOR
    metrics_port: int = PORT_METRICS


def now() -> datetime:
    return datetime.now(UTC)


class App:
    """Holds the parts of the operator; kopf calls `start` after its login and `stop` at the end.

    `end` ends the process at once: nothing that runs in it may write any more.
    """

    def __init__(self, options: Options, settings: Settings, end: Callable[[], None]) -> None:
        self.options = options
        self.settings = settings
        self._end = end
        self.namespaced = bool(options.namespaces)
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics(self.registry)
        add_build_info(self.registry)
        self.queue = Queue(
            self._reconcile,
            QueueMetrics(self.registry),
            concurrency=settings.concurrency,
            resync=settings.resync_seconds,
        )
        self.elector: Elector | None = None
        self._indexed = self._leads = self._stopping = False
        self._ticked = self._last_event = time.monotonic()
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._runners: list[web.AppRunner] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._leading: asyncio.Task[None] | None = None

    async def start(self, cache: Cache) -> None:
        """Connect, serve health, and stand for election; kopf fills the indexes afterwards."""
        await self._serve(self._observability(), self.options.metrics_port, None)
        options = self.options
        self._election = await Cluster.connect(options.kubeconfig, self.requests, without_limit)
        lease, terms = (options.operator_namespace, options.name), Terms(options.lease_seconds)
        self.elector = Elector(self._election, lease, options.identity, terms, wall=now)
        self.cluster = await Cluster.connect(options.kubeconfig, self.requests, self.elector.seconds_left)
        add_leadership(self.registry, options.name, self.elector.seconds_left)
        await self._retry(self._check_definitions)
        competing = asyncio.create_task(self._compete(self.elector, cache))
        competing.add_done_callback(self._end_on_error)
        self._tasks += [competing, asyncio.create_task(self._tick())]

    async def stop(self) -> None:
        """Start no new reconcile, finish the running ones, close all connections, and give the lease up."""
        self._stopping = True
        self.queue.stop()
        if self._leading:
            await asyncio.wait([self._leading], timeout=STOP_SECONDS if self._leads else 0)
            self._leading.cancel()
        for task in self._tasks:
            task.cancel()
        if self.elector:
            await self.cluster.close()
            await self.elector.release()
            await self._election.close()
        for runner in self._runners:
            await runner.cleanup()

    def seen(self, key: Key | None, lane: Lane) -> None:
        """Record the time of a watch event, and wake its key if this process leads."""
        self._last_event = time.monotonic()
        self._indexed = True  # kopf reports no event before every index is filled
        if key is not None and self._leads:
            self.queue.wake(key, lane)

    async def _compete(self, elector: Elector, cache: Cache) -> None:
        """Lead once the lease is acquired, until it is lost: then the process ends."""
        await elector.acquire()
        self._leading = asyncio.create_task(self._lead(elector, cache))
        self._leading.add_done_callback(self._end_on_error)
        await elector.hold()
        self._end()

    async def _lead(self, elector: Elector, cache: Cache) -> None:
        """Publish the endpoint, serve it, and reconcile every object."""
        published = await self._retry(self._publish)
        self.context = self._context(cache, published)
        self.registry.register(ResourceCollector(cache, self.context.progress))
        self.registry.register(ModelCollector(cache, self.context.heartbeats, now))
        await self._serve(server.application(self._receiver()), self.options.endpoint_port, self._tls)
        self._tasks.append(asyncio.create_task(self._upkeep()))
        self._leads = True
        if self._indexed:  # else each object's first event wakes it
            for key in list(cache.objects):
                self.queue.wake(key, Lane.WAITING)
        log.info("ready: the endpoint for pods is %s", published.endpoint.base_url)
        if elector.lease:
            await self.context.events.record(elector.lease, Note("LeaderElection", f"{elector.identity} became leader"))
        await self.queue.run()

    def _end_on_error(self, task: asyncio.Task[None]) -> None:
        """End the process when election or leading failed, for example because a port is in use."""
        if not task.cancelled() and (error := task.exception()):
            log.critical("cannot lead: %s", error, exc_info=error)
            self._end()

    def _context(self, cache: Cache, published: publication.PublishedEndpoint) -> Context:
        return Context(
            settings=self.settings,
            cluster=self.cluster,
            cache=cache,
            endpoint=published.endpoint,
            events=Recorder(self.cluster, now),
            progress=ProgressStore(),
            heartbeats=HeartbeatStore(timedelta(seconds=self.settings.heartbeat_timeout_seconds)),
            routes=RouteStore(),
            clock=now,
        )

    @property
    def ready(self) -> bool:
        """Say whether the endpoint is published, or another process leads and this one can replace it."""
        return not self._stopping and (self._leads or (self.elector is not None and self.elector.stands_by()))

    async def _reconcile(self, key: Key) -> float | None:
        return await RECONCILERS[key.kind](self.context, key)

    async def _publish(self) -> publication.PublishedEndpoint:
        options = self.options
        place = publication.Place(options.operator_namespace, options.name)
        process = publication.Process(options.advertise_address, options.endpoint_port, options.in_pod)
        published = await publication.publish(self.cluster, place, process, now())
        publication.load_into(self._tls, published.leaf)
        return published

    async def _retry(self, act: Callable[[], Awaitable[Result]]) -> Result:
        """Call `act` until it succeeds, with backoff."""
        for pause in Backoffs():
            try:
                return await act()
            except ClusterError as error:
                log.warning("cannot start, retrying in %.0f s: %s", pause, error)
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _check_definitions(self) -> None:
        """Raise while the CRDs are missing: in namespaced mode kopf would not look for them again."""
        for kind in Kind:
            for namespace in self.options.namespaces or (None,):
                await self.cluster.request("GET", path_of(kind.value, namespace), query={"limit": "1"})

    def _receiver(self) -> server.Receiver:
        ctx = self.context
        return server.Receiver(
            cache=ctx.cache,
            tokens=TokenVerifier(lambda path: self.cluster.request("GET", path)),
            rate=server.RateLimit(time.monotonic),
            progress=ctx.progress,
            heartbeats=ctx.heartbeats,
            routes=ctx.routes,
            clock=now,
            wake=self.queue.wake,
        )

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            try:
                await self.maintain()
            except ClusterError as error:
                log.warning("upkeep failed: %s", error)

    async def maintain(self) -> None:
        """Repair Service, EndpointSlice and certificates, and sweep the indexes; raises `ClusterError`."""
        endpoint, cache = (await self._publish()).endpoint, self.context.cache
        moved, self.context.endpoint = endpoint != self.context.endpoint, endpoint
        for key in list(cache.objects) if moved else ():  # each has a ConfigMap with the address
            self.queue.wake(key, Lane.WAITING)
        for key in await sweep(self.cluster, cache, self.options.namespaces):
            self.queue.wake(key)

    async def _tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)

    def _observability(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        """Answer 503 when the event loop lags or a task has ended; the age of the last watch event is informative."""
        lag = max(0.0, time.monotonic() - self._ticked - TICK_SECONDS) if self.ready else 0.0
        ended = any(t.done() for t in self._tasks) and self.ready
        body = {"loopLagSeconds": round(lag, 3), "lastWatchEventSeconds": round(time.monotonic() - self._last_event)}
        return web.json_response(body, status=503 if ended or lag > MAX_LAG_SECONDS else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        body = {"ready": self.ready, "leads": self._leads}
        return web.json_response(body, status=200 if self.ready else 503)

    async def _serve(self, app: web.Application, port: int, tls: ssl.SSLContext | None) -> None:
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=IDLE_SECONDS)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, None, port, ssl_context=tls).start()
