from __future__ import annotations

from typing import Any

import pytest

from loraform_operator.kube.apply import Plan, carry_out, covers


@pytest.mark.parametrize(
    ("existing", "desired", "covered"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"b": [{"c": 1, "default": 0}]}}, {"a": {"b": [{"c": 1}]}}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({}, {"ingress": []}, True),
        ({"ingress": [{}]}, {"ingress": []}, False),
        (None, {"a": 1}, False),
        ({"replicas": 0}, {"replicas": None}, True),
        ({"flag": True}, {"flag": False}, False),
        ({}, {"flag": False}, False),
    ],
)
def test_covers(existing: Any, desired: Any, covered: bool) -> None:
    assert covers(existing, desired) is covered


class FakeCluster:
    """A fake API client that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    async def apply(self, obj: dict[str, Any]) -> None:
        self.calls.append(("apply", obj["metadata"]["name"]))

    async def create(self, obj: dict[str, Any]) -> None:
        self.calls.append(("create", obj["metadata"]["name"]))

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        self.calls.append(("delete", f"{name}/{uid}"))


def obj(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", **more}}


async def test_only_differences_are_carried_out() -> None:
    cluster = FakeCluster()
    plan = Plan(
        apply=[{**obj("same"), "data": {"a": "1"}}, {**obj("other"), "data": {"a": "1"}}],
        create=[obj("kept"), obj("new")],
        delete=[obj("old"), obj("going", deletionTimestamp="2026-11-24T10:00:00Z")],
    )
    existing = [{**obj("same"), "data": {"a": "1", "b": "2"}}, {**obj("other"), "data": {"a": "2"}}, obj("kept")]
    await carry_out(cluster, plan, existing)  # type: ignore[arg-type]
    assert cluster.calls == [("apply", "other"), ("create", "new"), ("delete", "old/uid-old")]
