"""Requests and tokens in flight, by API key, so that one caller cannot starve the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from loraform_gateway.errors import ApiError

TOTAL_REQUESTS = 128
"""Requests in flight of all keys, after which only a key that has none gets one more: that one always passes."""
RETRY_SECONDS = 1


@dataclass
class Limits:
    """What each key has in flight; the limits are those of one key, without keys of all callers together."""

    requests: int
    tokens: int
    total: int = TOTAL_REQUESTS
    _requests: Counter[str] = field(default_factory=Counter)
    _tokens: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def request(self, key: str) -> Iterator[None]:
        """Hold one request of `key`; raises ApiError 429 when it has too many."""
        if self._requests[key] >= self.requests:
            raise _too_many(
                f"{self._requests[key]} requests of this key are in flight, allowed are at most {self.requests}: "
                "wait for one of them"
            )
        if self._requests[key] and self._requests.total() >= self.total:
            raise _too_many(f"the gateway is busy with {self.total} requests: try again")
        with _held(self._requests, key, 1):
            yield

    @contextmanager
    def prompt(self, key: str, tokens: int) -> Iterator[None]:
        """Hold the tokens of a request, prompt and longest answer; raises ApiError 429 when `key` has too many.

        A request that is alone passes: the engine's context bounds it.
        """
        if self._tokens[key] and self._tokens[key] + tokens > self.tokens:
            raise _too_many(
                f"the requests of this key have {self._tokens[key]} tokens in flight and this one has {tokens}, "
                f"allowed are at most {self.tokens}: wait for one of them, or lower `max_tokens`"
            )
        with _held(self._tokens, key, tokens):
            yield


@contextmanager
def _held(counts: Counter[str], key: str, number: int) -> Iterator[None]:
    counts[key] += number
    try:
        yield
    finally:
        counts[key] -= number
        if not counts[key]:
            del counts[key]


def _too_many(message: str) -> ApiError:
    return ApiError(429, "rate_limit_exceeded", message, retry_after=RETRY_SECONDS)
