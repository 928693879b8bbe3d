from __future__ import annotations

from typing import Any

import pytest

from loraform_operator.kube import errors
from loraform_operator.kube.apply import Plan, carry_out, covers, ensure


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
    """A fake API client that records its calls; an apply meets `stored`, objects that the caller did not read."""

    def __init__(self, *stored: dict[str, Any]) -> None:
        self.calls: list[tuple[str, str]] = []
        self.stored = {o["metadata"]["name"]: o for o in stored}

    async def apply(self, obj: dict[str, Any], observed: dict[str, Any] | None) -> dict[str, Any]:
        version = observed["metadata"]["resourceVersion"] if observed else "new"
        self.calls.append(("apply", f"{obj['metadata']['name']}/{version}"))
        if obj["metadata"]["name"] in self.stored:
            raise errors.Conflict("the object has been modified", 409)
        return obj

    async def check_owner(self, obj: dict[str, Any]) -> dict[str, Any] | None:
        existing = self.stored.get(obj["metadata"]["name"])
        if existing and existing["metadata"].get("foreign"):
            raise errors.ForeignObject("exists and has another owner", 409)
        return existing

    async def create(self, obj: dict[str, Any]) -> None:
        self.calls.append(("create", obj["metadata"]["name"]))

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        self.calls.append(("delete", f"{name}/{uid}"))


def obj(name: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": f"v-{name}", **more}
    return {"kind": "ConfigMap", "metadata": meta}


def desired(name: str, **data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}, "data": data}


async def test_only_differences_are_carried_out() -> None:
    cluster = FakeCluster()
    plan = Plan(
        apply=[desired("same", a="1"), desired("other", a="1"), desired("absent", a="1")],
        create=[obj("kept"), obj("new")],
        delete=[obj("old"), obj("going", deletionTimestamp="2026-11-24T10:00:00Z")],
    )
    existing = [{**obj("same"), "data": {"a": "1", "b": "2"}}, {**obj("other"), "data": {"a": "2"}}, obj("kept")]
    await carry_out(cluster, plan, existing)  # type: ignore[arg-type]
    assert cluster.calls == [
        ("apply", "other/v-other"),
        ("apply", "absent/new"),
        ("create", "new"),
        ("delete", "old/uid-old"),
    ]


async def test_an_object_that_the_index_lacks_is_left_as_it_is_when_it_fits() -> None:
    stored = {**obj("m"), "data": {"a": "1"}}
    assert await ensure(FakeCluster(stored), desired("m", a="1"), None) is stored  # type: ignore[arg-type]


@pytest.mark.parametrize("observed", [None, obj("m")], ids=["not read", "read before"])
async def test_an_object_that_changed_meanwhile_is_a_conflict(observed: dict[str, Any] | None) -> None:
    stored = {**obj("m", resourceVersion="later"), "data": {"a": "2"}}
    with pytest.raises(errors.Conflict):
        await ensure(FakeCluster(stored), desired("m", a="1"), observed)  # type: ignore[arg-type]


async def test_an_object_of_another_owner_is_refused() -> None:
    with pytest.raises(errors.ForeignObject):
        await ensure(FakeCluster(obj("m", foreign=True)), desired("m", a="1"), None)  # type: ignore[arg-type]
