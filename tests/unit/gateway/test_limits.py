"""One caller cannot starve the others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from loraform_gateway.errors import ApiError
from loraform_gateway.limits import Limits


@pytest.fixture
def held():
    with ExitStack() as stack:
        yield stack


def refused(context) -> ApiError:
    with pytest.raises(ApiError) as caught, context:
        pass
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", 1)
    assert error.body()["error"]["type"] == "rate_limit_error"
    return error


def test_a_key_has_its_own_requests_and_gets_them_back(held: ExitStack) -> None:
    limits = Limits(requests=2, tokens=100)
    with limits.request("ci"):
        held.enter_context(limits.request("ci"))
        assert "at most 2" in refused(limits.request("ci")).message
        held.enter_context(limits.request("people"))
    held.enter_context(limits.request("ci"))


def test_a_key_without_a_request_passes_when_the_gateway_is_full(held: ExitStack) -> None:
    limits = Limits(requests=3, tokens=100, total=4)
    for key in ("a", "a", "b", "b"):
        held.enter_context(limits.request(key))
    assert "busy" in refused(limits.request("a")).message
    held.enter_context(limits.request("c"))
    refused(limits.request("c"))


def test_tokens_are_limited_by_key(held: ExitStack) -> None:
    limits = Limits(requests=9, tokens=100)
    with limits.prompt("ci", 60):
        held.enter_context(limits.prompt("ci", 40))
        assert "100 tokens in flight and this one has 1" in refused(limits.prompt("ci", 1)).message
        held.enter_context(limits.prompt("people", 100))
    held.enter_context(limits.prompt("ci", 60))


def test_a_large_request_passes_alone(held: ExitStack) -> None:
    limits = Limits(requests=9, tokens=100)
    held.enter_context(limits.prompt("ci", 1000))
    refused(limits.prompt("ci", 1))


def test_a_request_that_fails_gives_its_place_back() -> None:
    limits = Limits(requests=1, tokens=100)
    with pytest.raises(KeyError), limits.request("ci"), limits.prompt("ci", 100):
        raise KeyError
    with limits.request("ci"), limits.prompt("ci", 1):
        pass
