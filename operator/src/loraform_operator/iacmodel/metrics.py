"""Metrics of each IaCModel, computed at scrape: live version, and the counters that its gateways report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from loraform_api.heartbeat import Counter
from loraform_api.names import Kind
from loraform_operator.context import Cache
from loraform_operator.endpoint.heartbeats import HeartbeatStore

DESCRIPTIONS = {
    Counter.REQUESTS: "Requests to a gateway pod since it started.",
    Counter.ERRORS: "Requests that a gateway pod failed to answer.",
    Counter.VERIFIED_RAW: "Answers that passed every check unchanged.",
    Counter.VERIFIED_SERVED: "Answers that passed every check as served.",
    Counter.UNVERIFIED: "Answers that failed a check or were not checked.",
}


class ModelCollector(Collector):
    """Metrics of the IaCModels; those of a gateway pod end with its heartbeats, all others with the object."""

    def __init__(self, cache: Cache, heartbeats: HeartbeatStore, clock: Callable[[], datetime]) -> None:
        self._cache, self._heartbeats, self._clock = cache, heartbeats, clock

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the metric families."""
        labels = ["namespace", "name"]
        live = GaugeMetricFamily("loraform_iacmodel_live_version", "Live version.", labels=labels)
        totals = {
            counter: CounterMetricFamily(f"loraform_iacmodel_gateway_{counter}", description, labels=[*labels, "pod"])
            for counter, description in DESCRIPTIONS.items()
        }
        for key, body in self._cache.all(Kind.IAC_MODEL):
            version = (body.get("status") or {}).get("liveVersion")
            if version is not None:
                live.add_metric([key.namespace, key.name], float(version))
            for beat in self._heartbeats.gateways((key.namespace, key.name), self._clock()).values():
                for counter, family in totals.items():
                    family.add_metric([key.namespace, key.name, beat.pod], float(beat.counters.get(counter, 0)))
        yield live
        yield from totals.values()
