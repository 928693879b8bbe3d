"""The cache of indexed objects drops outdated ones."""

from __future__ import annotations

from typing import Any

from loraform_api.names import Kind
from loraform_operator.context import Cache, Key

KEY = Key(Kind.FINE_TUNE_JOB, "team-a", "style")


def body(uid: str) -> dict[str, Any]:
    return {"metadata": {"name": KEY.name, "namespace": KEY.namespace, "uid": uid}}


def test_the_current_object_replaces_an_outdated_one() -> None:
    cache = Cache({KEY: [body("old"), body("new")]}, {})
    cache.drop_outdated(KEY, body("new"))
    assert cache.get(KEY) == body("new")
    assert list(cache.all(Kind.FINE_TUNE_JOB)) == [(KEY, body("new"))]


def test_a_deleted_object_is_not_listed() -> None:
    cache = Cache({KEY: [body("old")]}, {})
    cache.drop_outdated(KEY, None)
    assert cache.get(KEY) is None
    assert list(cache.all(Kind.FINE_TUNE_JOB)) == []


def test_an_object_that_is_not_indexed_yet_drops_nothing() -> None:
    cache = Cache({}, {})
    cache.drop_outdated(KEY, body("new"))
    assert cache.deleted_uids == set()
