from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loraform_operator.waits import FIRST_POLL, JITTER, LONGEST_POLL, Waits, wait_seconds

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("waited", "share", "seconds"),
    [
        (0, 0.0, FIRST_POLL),
        (0, 1.0, FIRST_POLL),
        (40, 0.0, 40),
        (40, 1.0, 40 * (1 - JITTER)),
        (10_000, 0.0, LONGEST_POLL),
        (10_000, 1.0, LONGEST_POLL * (1 - JITTER)),
    ],
)
def test_a_poll_comes_after_as_long_as_the_object_has_waited(waited: float, share: float, seconds: float) -> None:
    assert wait_seconds(waited, share) == seconds


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_another_cause_and_a_forgotten_wait_begin_anew() -> None:
    waits = Waits(share=lambda: 0.0)
    assert [waits.pause("a", "claim", later(s)) for s in (0, 10, 60, 900)] == [10, 10, 60, LONGEST_POLL]
    assert waits.pause("a", "quota", later(910)) == FIRST_POLL
    assert waits.pause("a", "quota", later(960)) == 50
    assert waits.pause("b", "quota", later(960)) == FIRST_POLL, "each object has a wait of its own"
    waits.forget("a")
    assert waits.pause("a", "quota", later(970)) == FIRST_POLL
