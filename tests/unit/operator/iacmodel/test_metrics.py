from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from loraform_api.heartbeat import Counter, Heartbeat
from loraform_api.names import Kind
from loraform_operator.context import Cache, Key
from loraform_operator.endpoint.heartbeats import HeartbeatStore
from loraform_operator.iacmodel.metrics import DESCRIPTIONS, ModelCollector

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = Key(Kind.IAC_MODEL, "demo", "house")


@pytest.fixture
def page() -> str:
    heartbeats = HeartbeatStore(timedelta(seconds=15))
    beat = Heartbeat(role="gateway", pod="gateway-a", counters={"requests": 7, "verified_raw": 5})
    heartbeats.record(("demo", "house"), "uid-a", beat, NOW)
    silent = Heartbeat(role="gateway", pod="gateway-b", counters={"requests": 9})
    heartbeats.record(("demo", "house"), "uid-b", silent, NOW - timedelta(seconds=16))
    registry = CollectorRegistry()
    cache = Cache(objects={KEY: [{"metadata": {"uid": "uid-1"}, "status": {"liveVersion": 3}}]}, children={})
    registry.register(ModelCollector(cache, heartbeats, lambda: NOW))
    return generate_latest(registry).decode()


def test_metrics_of_a_model_and_its_gateways(page: str) -> None:
    assert 'loraform_iacmodel_live_version{name="house",namespace="demo"} 3.0' in page
    assert 'loraform_iacmodel_gateway_requests_total{name="house",namespace="demo",pod="gateway-a"} 7.0' in page
    assert 'loraform_iacmodel_gateway_verified_raw_total{name="house",namespace="demo",pod="gateway-a"} 5.0' in page
    assert "gateway-b" not in page


def test_every_counter_of_a_heartbeat_is_a_metric() -> None:
    assert set(DESCRIPTIONS) == set(Counter)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_reports_no_problem(page: str) -> None:
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
