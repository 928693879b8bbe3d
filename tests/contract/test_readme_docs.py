"""Documents agree with the code: links, make targets and metrics exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from loraform_gateway.metrics import Metrics
from loraform_operator.context import Cache
from loraform_operator.endpoint.heartbeats import HeartbeatStore
from loraform_operator.endpoint.progress_store import ProgressStore
from loraform_operator.iacmodel.metrics import ModelCollector
from loraform_operator.metrics import QueueMetrics, RequestMetrics, ResourceCollector, add_build_info, add_leadership

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "charts", "examples")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))]
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    """Yield the broken relative links of a page."""
    for target in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_relative_link_is_broken(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_every_make_target_in_the_readme_exists() -> None:
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
    assert {"demo", "test"} <= named


def operators_metrics() -> set[str]:
    """Return the names of the operator's metrics, as documented."""
    registry, cache = CollectorRegistry(), Cache({}, {})
    QueueMetrics(registry)
    RequestMetrics(registry)
    add_build_info(registry)
    add_leadership(registry, "lease", lambda: 0.0)
    own = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    models = ModelCollector(cache, HeartbeatStore(timedelta()), lambda: datetime.now(UTC))
    collectors = (ResourceCollector(cache, ProgressStore()), models)
    families = (family for collector in collectors for family in collector.collect())
    return own | {family.name + ("_total" if family.type == "counter" else "") for family in families}


def gateways_metrics() -> set[str]:
    """Return the names of a gateway's metrics."""
    helps = re.findall(r"^# TYPE (\w+) (\w+)$", Metrics().text().decode(), re.MULTILINE)
    return {name for name, _ in helps if not name.endswith("_created")}


def test_the_documented_metrics_are_the_real_ones() -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert documented == operators_metrics() | gateways_metrics()
