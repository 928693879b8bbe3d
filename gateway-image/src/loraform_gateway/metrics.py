"""The gateway's metrics for Prometheus, on a port of their own, and the totals that each heartbeat reports."""

from __future__ import annotations

from collections import Counter as Tally

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from loraform_api.heartbeat import Counter as Name
from loraform_gateway.openai import LoraformField, Verdict

disable_created_metrics()  # type: ignore[no-untyped-call]

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


class Metrics:
    """A registry of its own with the gateway's metrics."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._tally: Tally[str] = Tally()
        self.requests = Counter(
            "loraform_gateway_requests_total",
            "Requests for an answer, by path, HTTP status and name of the API key.",
            ["path", "code", "key"],
            registry=self._registry,
        )
        self.latency = Histogram(
            "loraform_gateway_request_duration_seconds",
            "Seconds from a request's arrival to the end of its answer.",
            ["path"],
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self.verification = Histogram(
            "loraform_gateway_verification_duration_seconds",
            "Seconds to verify one answer.",
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "loraform_gateway_requests_in_flight",
            "Requests being answered, by name of the API key.",
            ["key"],
            registry=self._registry,
        )
        self._answers = Counter(
            "loraform_gateway_answers_total",
            "Answers, by verdict of the served text and whether the text passed as the model wrote it.",
            ["verdict", "raw_passed"],
            registry=self._registry,
        )
        self._tokens = Counter(
            "loraform_gateway_tokens_total",
            "Tokens of prompts and answers, by name of the API key.",
            ["kind", "key"],
            registry=self._registry,
        )
        for verdict in Verdict:
            self._answers.labels(verdict.value, "false")

    def count_request(self, path: str, code: int, key: str, seconds: float) -> None:
        """Count one request; `key` is the name of its API key, empty for an unknown one."""
        self.requests.labels(path, str(code), key).inc()
        self.latency.labels(path).observe(seconds)
        self._tally[Name.REQUESTS] += 1
        if code >= 500 or code == 429:
            self._tally[Name.ERRORS] += 1

    def count_answer(self, loraform: LoraformField) -> None:
        """Count one answer that was given."""
        self._answers.labels(loraform.verdict.value, str(loraform.raw_passed).lower()).inc()
        self._tally[Name.VERIFIED_RAW] += loraform.raw_passed
        self._tally[Name.VERIFIED_SERVED if loraform.verified else Name.UNVERIFIED] += 1

    def count_tokens(self, key: str, prompt: int, completion: int) -> None:
        self._tokens.labels("prompt", key).inc(prompt)
        self._tokens.labels("completion", key).inc(completion)

    def counters(self) -> dict[str, int]:
        """Return all totals for the heartbeat."""
        return {name.value: self._tally[name] for name in Name}

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def application(self) -> web.Application:
        """Return the web application that Prometheus reads."""

        async def expose(request: web.Request) -> web.Response:
            return web.Response(body=self.text(), headers={"Content-Type": TEXT_TYPE})

        app = web.Application()
        app.router.add_get("/metrics", expose)
        return app
