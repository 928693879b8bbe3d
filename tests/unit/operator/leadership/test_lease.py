from __future__ import annotations

from datetime import UTC, datetime

import pytest

from loraform_operator.leadership.lease import Action, Record, Seen, Terms, decide, held_by, observe, released

WALL = datetime(2026, 11, 24, 12, 0, 0, 5, tzinfo=UTC)
OTHERS = Record("other", 15, "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z", 3)


def test_terms_are_client_gos() -> None:
    terms = Terms(15)
    assert (terms.duration, terms.renew_deadline, terms.retry) == (15, 10, 2)


@pytest.mark.parametrize(
    ("record", "age", "action"),
    [
        (Record(), 0, Action.TAKE),
        (OTHERS, 0, Action.WAIT),
        (OTHERS, 14.9, Action.WAIT),
        (OTHERS, 15, Action.TAKE),
        (Record("me", 15), 0, Action.RENEW),
        (Record("me", 15), 99, Action.RENEW),
        (Record("other", 60), 59, Action.WAIT),
    ],
    ids=["free", "just changed", "not yet over", "over", "own", "own and old", "the holder's own duration counts"],
)
def test_what_is_done_about_a_record(record: Record, age: float, action: Action) -> None:
    assert decide("me", Seen(record, 1000.0), 1000.0 + age) is action


def test_an_old_time_in_a_record_says_nothing_when_it_is_first_seen() -> None:
    """The holder's wall clock may be a year behind."""
    seen = observe(Seen(Record(), 0.0), OTHERS, 500.0)
    assert decide("me", seen, 501.0) is Action.WAIT


def test_only_a_change_makes_a_record_young_again() -> None:
    seen = observe(Seen(Record(), 0.0), OTHERS, 10.0)
    assert observe(seen, OTHERS, 20.0).at == 10.0
    renewed = Record("other", 15, OTHERS.acquire_time, "2020-01-01T00:00:00.000000Z", 3)
    assert observe(seen, renewed, 20.0) == Seen(renewed, 20.0)


def test_the_holder_of_a_deleted_lease_keeps_its_time() -> None:
    seen = observe(Seen(OTHERS, 10.0), None, 12.0)
    assert decide("me", seen, 24.9) is Action.WAIT
    assert decide("me", seen, 25.0) is Action.TAKE


def test_a_renewal_keeps_when_the_lease_was_acquired() -> None:
    first = held_by("me", Terms(15), OTHERS, WALL)
    assert first == Record("me", 15, "2026-11-24T12:00:00.000005Z", "2026-11-24T12:00:00.000005Z", 4)
    again = held_by("me", Terms(15), first, WALL.replace(second=2))
    assert again == Record("me", 15, first.acquire_time, "2026-11-24T12:00:02.000005Z", 4)


def test_the_first_holder_is_no_transition() -> None:
    assert held_by("me", Terms(15), Record(), WALL).transitions == 0


def test_a_released_lease_is_free_and_counts_the_next_holder() -> None:
    record = released(held_by("me", Terms(15), OTHERS, WALL), WALL)
    assert decide("other", Seen(record, 0.0), 0.0) is Action.TAKE
    assert held_by("other", Terms(15), record, WALL).transitions == 5


def test_a_record_is_read_as_it_was_written() -> None:
    assert Record.read({"spec": OTHERS.spec()}) == OTHERS
    assert Record.read({"spec": {"holderIdentity": None}}) == Record()
