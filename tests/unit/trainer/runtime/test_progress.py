"""Posting progress: the newest message wins, and no error fails a stage."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from loraform_api.run import ProgressMessage
from loraform_trainer.runtime.progress import PATIENCE_SECONDS, Countdown, Progress


class Received:
    """Stands for the operator; records the messages."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.arrived = threading.Event()

    def __call__(self, body: str) -> None:
        ProgressMessage.model_validate_json(body)
        self.bodies.append(json.loads(body)["trainerStatus"])
        self.arrived.set()


def test_only_the_newest_update_of_an_interval_and_the_end_are_posted() -> None:
    received = Received()
    with Progress(received, interval=60) as progress:
        progress.update(0.1)
        assert received.arrived.wait(10)
        for percent in range(11, 50):
            progress.update(percent / 100, remaining_seconds=7.9, metrics={"loss": 0.5})
    first, last = received.bodies
    assert first["progressPercentage"] == 10
    assert last["progressPercentage"] == 100
    assert last["estimatedRemainingSeconds"] == 0


def test_newest_update_is_posted_when_the_stage_fails() -> None:
    received = Received()
    with pytest.raises(ValueError, match="stage"), Progress(received, interval=60) as progress:
        progress.update(1.0, metrics={"loss": 0.5, "step": 3})
        raise ValueError("stage failed")
    assert received.bodies[-1]["progressPercentage"] == 99
    assert received.bodies[-1]["metrics"] == [{"name": "loss", "value": "0.5"}, {"name": "step", "value": "3"}]


def test_a_failed_post_raises_nothing() -> None:
    tried = threading.Event()

    def send(body: str) -> None:
        tried.set()
        raise OSError("no route to host")

    with Progress(send, interval=0) as progress:
        progress.update(0.5)
        assert tried.wait(10)


class Joins:
    """Stands for `Thread.join`; keeps how long the stage would wait for the posting thread."""

    def __init__(self, progress: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timeouts: list[float] = []
        monkeypatch.setattr(progress._thread, "join", self.timeouts.append)


@pytest.mark.parametrize(
    ("posting_seconds", "waits"), [(0.5, [PATIENCE_SECONDS - 0.5]), (PATIENCE_SECONDS, []), (3600.0, [])]
)
def test_a_stage_does_not_wait_for_an_operator_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, posting_seconds: float, waits: list[float]
) -> None:
    now, posted, arrived, answer = 100.0, [], threading.Event(), threading.Event()

    def hang(body: str) -> None:
        posted.append(body)
        arrived.set()
        answer.wait(60)

    progress = Progress(hang, interval=0, clock=lambda: now)
    joins = Joins(progress, monkeypatch)
    with progress:
        progress.update(0.1)
        assert arrived.wait(10)
        for percent in range(11, 99):
            progress.update(percent / 100)
        now += posting_seconds
    assert len(posted) == 1
    assert joins.timeouts == waits
    answer.set()


def test_a_stage_does_not_wait_for_an_operator_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    posted, again = [], threading.Event()

    def refuse(body: str) -> None:
        posted.append(body)
        if len(posted) == 2:  # so the first has failed
            again.set()
        raise OSError("403 Forbidden")

    progress = Progress(refuse, interval=0)
    joins = Joins(progress, monkeypatch)
    with progress:
        progress.update(0.1)
        while not again.wait(0.01):
            progress.update(0.2)
    assert joins.timeouts == []


def test_without_an_operator_nothing_is_posted() -> None:
    with Progress(None) as progress:
        progress.update(0.5)


def test_remaining_time_of_a_resumed_run_is_from_its_own_steps() -> None:
    now = 100.0
    countdown = Countdown(90, clock=lambda: now)
    assert countdown.remaining_seconds(90, 100) is None
    now = 110.0
    assert countdown.remaining_seconds(95, 100) == 10.0
