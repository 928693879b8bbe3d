"""Metrics: names of controller-runtime and workqueue for the operator, `loraform_*` for custom resources.

Metrics of a custom resource are computed from the indexes at each scrape, so they end with the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import TypeAdapter, ValidationError

from loraform_api import __version__
from loraform_api.finetunejob_status import ArmStatus, FineTuneJobStatus
from loraform_api.meta import Condition
from loraform_api.names import Kind
from loraform_api.reflexion import Reflexion
from loraform_operator.context import Cache, Key
from loraform_operator.endpoint.progress_store import ProgressStore

QUEUE = "loraform"
STATUSES = ("True", "False", "Unknown")
CONDITIONS = TypeAdapter(list[Condition])
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

disable_created_metrics()  # type: ignore[no-untyped-call]


class QueueMetrics:
    """Metrics of the queue, under the names that existing dashboards use."""

    def __init__(self, registry: CollectorRegistry) -> None:
        controller, name = ["controller"], ["name"]
        self._reconciles = Counter(
            "controller_runtime_reconcile_total", "Reconciles by result.", [*controller, "result"], registry=registry
        )
        self._errors = Counter(
            "controller_runtime_reconcile_errors_total", "Reconciles that failed.", controller, registry=registry
        )
        self._time = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Duration of a reconcile.",
            controller,
            buckets=SECONDS,
            registry=registry,
        )
        self._depth = Gauge("workqueue_depth", "Keys that wait for a worker.", name, registry=registry).labels(QUEUE)
        self._adds = Counter("workqueue_adds_total", "Keys added to the queue.", name, registry=registry).labels(QUEUE)
        self._retries = Counter(
            "workqueue_retries_total", "Keys retried after a failure.", name, registry=registry
        ).labels(QUEUE)
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "Time that a key waits in the queue.",
            name,
            buckets=SECONDS,
            registry=registry,
        ).labels(QUEUE)
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "Duration of the work on a key.",
            name,
            buckets=SECONDS,
            registry=registry,
        ).labels(QUEUE)
        self._unfinished = Gauge(
            "workqueue_unfinished_work_seconds", "Total seconds of the work that is running.", name, registry=registry
        ).labels(QUEUE)
        self._longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "Seconds of the longest running work.",
            name,
            registry=registry,
        ).labels(QUEUE)

    def observe_running(self, running: Callable[[], list[float]]) -> None:
        """Call `running` for the seconds of running work at each scrape."""
        self._unfinished.set_function(lambda: sum(running()))
        self._longest.set_function(lambda: max(running(), default=0.0))

    def added(self, depth: int) -> None:
        self._adds.inc()
        self._depth.set(depth)

    def started(self, depth: int, waited: float) -> None:
        self._depth.set(depth)
        self._waited.observe(waited)

    def finished(self, kind: Kind, result: str, seconds: float) -> None:
        controller = kind.value.lower()
        self._reconciles.labels(controller, result).inc()
        if result == "error":
            self._errors.labels(controller).inc()
        self._time.labels(controller).observe(seconds)
        self._worked.observe(seconds)

    def retried(self) -> None:
        self._retries.inc()


class RequestMetrics:
    """Requests to the API server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "rest_client_requests_total",
            "Requests to the API server by method, host and code (`<error>`: no response).",
            ["code", "method", "host"],
            registry=registry,
        )

    def __call__(self, method: str, host: str, status: int) -> None:
        code = str(status) if status else "<error>"
        self._requests.labels(code, method, host.removeprefix("https://")).inc()


class _EvaluationMetrics:
    """Metrics of a run's evaluation, by arm."""

    def __init__(self) -> None:
        labels = ["namespace", "name", "arm"]
        self._rates = GaugeMetricFamily(
            "loraform_evaluation_rate",
            "Share of the suite's rows that passed, by arm, stage and form (raw, served).",
            labels=[*labels, "stage", "form"],
        )
        self._pass_at_k = GaugeMetricFamily(
            "loraform_evaluation_pass_at_k",
            "Probability that one of k sampled answers passes every stage, mean over prompts.",
            labels=[*labels, "k"],
        )
        self._hallucinations = GaugeMetricFamily(
            "loraform_evaluation_hallucination_rate",
            "Share of the suite's rows whose answer uses a type, block or argument that does not exist.",
            labels=labels,
        )
        self._reflexion = GaugeMetricFamily(
            "loraform_evaluation_reflexion_rate",
            "Share of the suite's rows that the candidate passes as served, by number of repair rounds.",
            labels=["namespace", "name", "round"],
        )
        self._best_of_n = GaugeMetricFamily(
            "loraform_evaluation_reflexion_best_of_n_rate",
            "Share of the suite's rows that it passes with sampled answers instead of repairs, for as many tokens.",
            labels=["namespace", "name"],
        )

    def add_reflexion(self, key: Key, reflexion: Reflexion) -> None:
        labels, rows = [key.namespace, key.name], max(1, reflexion.rows)
        for repair in reflexion.rounds:
            self._reflexion.add_metric([*labels, str(repair.round)], repair.passed / rows)
        self._best_of_n.add_metric(labels, reflexion.best_of_n.passed / rows)

    def add(self, key: Key, arm: ArmStatus) -> None:
        labels = [key.namespace, key.name, arm.name.value]
        for rate in arm.rates:
            self._rates.add_metric([*labels, rate.stage, "raw"], float(rate.raw))
            self._rates.add_metric([*labels, rate.stage, "served"], float(rate.served))
        for estimate in arm.pass_at_k:
            self._pass_at_k.add_metric([*labels, str(estimate.k)], float(estimate.rate))
        if arm.hallucination_rate is not None:
            self._hallucinations.add_metric(labels, float(arm.hallucination_rate))

    def families(self) -> Iterator[Metric]:
        yield from (self._rates, self._pass_at_k, self._hallucinations, self._reflexion, self._best_of_n)


class ResourceCollector(Collector):
    """Conditions, progress and evaluation of all custom resources in the indexes."""

    def __init__(self, cache: Cache, progress: ProgressStore) -> None:
        self._cache = cache
        self._progress = progress

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the metric families; skips objects with an invalid status."""
        for kind in Kind:
            yield self._conditions(kind)
        yield from self._runs()

    def _conditions(self, kind: Kind) -> Metric:
        family = GaugeMetricFamily(
            f"loraform_{kind.value.lower()}_condition",
            f"Conditions of each {kind.value}: 1 for the status that holds.",
            labels=["namespace", "name", "type", "status"],
        )
        for key, body in self._cache.all(kind):
            try:
                conditions = CONDITIONS.validate_python((body.get("status") or {}).get("conditions") or [])
            except ValidationError:
                continue
            for condition in conditions:
                for status in STATUSES:
                    labels = [key.namespace, key.name, condition.type, status]
                    family.add_metric(labels, float(condition.status == status))
        return family

    def _runs(self) -> Iterator[Metric]:
        labels = ["namespace", "name"]
        ratio = GaugeMetricFamily(
            "loraform_finetunejob_progress_ratio", "Progress of the running stage, 0 to 1.", labels=labels
        )
        loss = GaugeMetricFamily("loraform_finetunejob_loss", "Training loss as last reported.", labels=labels)
        forgetting = GaugeMetricFamily(
            "loraform_finetunejob_forgetting",
            "Change of the log-probability per token of general answers, adapter less base, in nats.",
            labels=labels,
        )
        evaluation = _EvaluationMetrics()
        for key, body in self._cache.all(Kind.FINE_TUNE_JOB):
            try:
                status = FineTuneJobStatus.model_validate(body.get("status") or {})
            except ValidationError:
                continue
            self._add_progress(key, ratio, loss)
            if status.forgetting is not None:
                forgetting.add_metric([key.namespace, key.name], float(status.forgetting.mean_difference))
            for arm in status.evaluation.arms if status.evaluation else []:
                evaluation.add(key, arm)
            if status.evaluation and status.evaluation.reflexion:
                evaluation.add_reflexion(key, status.evaluation.reflexion)
        yield from (ratio, loss, forgetting, *evaluation.families())

    def _add_progress(self, key: Key, ratio: GaugeMetricFamily, loss: GaugeMetricFamily) -> None:
        report = self._progress.get((key.namespace, key.name))
        if report is None:
            return
        labels = [key.namespace, key.name]
        ratio.add_metric(labels, (report.status.progress_percentage or 0) / 100)
        losses = [m.get("value", "") for m in report.status.metrics if m.get("name") == "loss"]
        if losses:
            try:
                loss.add_metric(labels, float(losses[-1]))
            except ValueError:
                return


def add_leadership(registry: CollectorRegistry, name: str, seconds_left: Callable[[], float]) -> None:
    """Add whether this process leads, under controller-runtime's name; `name` is the lease's."""
    status = Gauge(
        "leader_election_master_status", "1 while this process holds the lease, else 0.", ["name"], registry=registry
    )
    status.labels(name).set_function(lambda: float(seconds_left() > 0))


def add_build_info(registry: CollectorRegistry) -> None:
    """Add the version of the operator as a metric."""
    info = Gauge("loraform_build_info", "Version of the operator; always 1.", ["version"], registry=registry)
    info.labels(__version__).set(1)
