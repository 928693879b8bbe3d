"""What the watches know, and how an index that kept too much is corrected."""

from __future__ import annotations

from typing import Any

from loraform_api.names import Kind
from loraform_operator.context import Cache, Key

KEY = Key(Kind.FINE_TUNE_JOB, "team-a", "style")


def body(uid: str) -> dict[str, Any]:
    return {"metadata": {"name": KEY.name, "namespace": KEY.namespace, "uid": uid}}


def test_what_stands_there_now_replaces_what_the_index_kept() -> None:
    cache = Cache({KEY: [body("old"), body("new")]}, {})
    cache.drop_outdated(KEY, body("new"))
    assert cache.get(KEY) == body("new")
    assert list(cache.all(Kind.FINE_TUNE_JOB)) == [(KEY, body("new"))]


def test_what_is_gone_is_in_no_list() -> None:
    cache = Cache({KEY: [body("old")]}, {})
    cache.drop_outdated(KEY, None)
    assert cache.get(KEY) is None
    assert list(cache.all(Kind.FINE_TUNE_JOB)) == []


def test_what_the_index_does_not_hold_yet_is_no_fault_of_it() -> None:
    cache = Cache({}, {})
    cache.drop_outdated(KEY, body("new"))
    assert cache.gone == set()
