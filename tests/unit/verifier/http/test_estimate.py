"""When a request would be answered, and when to ask again."""

from __future__ import annotations

import pytest

from loraform_verifier.http.estimate import Outlook, retry_after, usual


@pytest.mark.parametrize(
    ("outlook", "seconds"),
    [
        pytest.param(Outlook(own=2), 2, id="nothing before it"),
        pytest.param(Outlook(running=2, elapsed=0.5, own=2), 3.5, id="the rest of a run"),
        pytest.param(Outlook(running=2, elapsed=9, own=2), 2, id="a run that takes longer than usual"),
        pytest.param(Outlook(running=2, elapsed=2, ahead=(2, 10), own=2), 14, id="runs before it"),
        pytest.param(Outlook(), 0, id="nothing is known"),
    ],
)
def test_the_expected_seconds_are_those_of_the_runs_before_it_and_its_own(outlook: Outlook, seconds: float) -> None:
    assert outlook.seconds == seconds


@pytest.mark.parametrize(("recent", "seconds"), [((), 0), ((3,), 3), ((1, 2, 60), 2)])
def test_the_usual_length_is_no_outlier(recent: tuple[float, ...], seconds: float) -> None:
    assert usual(recent) == seconds


@pytest.mark.parametrize(("expected", "within", "wait"), [(70, 60, 10), (60.2, 60, 1), (5, 60, 1)])
def test_after_the_wait_an_answer_is_expected_in_the_same_time(expected: float, within: float, wait: int) -> None:
    assert retry_after(expected, within) == wait
    assert expected - wait <= within
