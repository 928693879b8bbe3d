"""Progress: the newest message wins, nothing ever fails a stage."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from loraform_api.run import ProgressMessage
from loraform_trainer.runtime.progress import Countdown, Progress


class Received:
    """An operator that keeps what it is told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.arrived = threading.Event()

    def __call__(self, body: str) -> None:
        ProgressMessage.model_validate_json(body)
        self.bodies.append(json.loads(body)["trainerStatus"])
        self.arrived.set()


def test_updates_between_two_messages_are_merged_and_the_end_is_said() -> None:
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


def test_the_newest_update_is_delivered_when_the_stage_fails() -> None:
    received = Received()
    with pytest.raises(ValueError, match="stage"), Progress(received, interval=60) as progress:
        progress.update(1.0, metrics={"loss": 0.5, "step": 3})
        raise ValueError("stage failed")
    assert received.bodies[-1]["progressPercentage"] == 99
    assert received.bodies[-1]["metrics"] == [{"name": "loss", "value": "0.5"}, {"name": "step", "value": "3"}]


def test_a_lost_message_fails_nothing() -> None:
    tried = threading.Event()

    def send(body: str) -> None:
        tried.set()
        raise OSError("no route to host")

    with Progress(send, interval=0) as progress:
        progress.update(0.5)
        assert tried.wait(10)


def test_without_an_operator_nothing_is_sent() -> None:
    with Progress(None) as progress:
        progress.update(0.5)


def test_a_resumed_run_estimates_from_its_own_steps() -> None:
    now = 100.0
    countdown = Countdown(90, clock=lambda: now)
    assert countdown.remaining_seconds(90, 100) is None
    now = 110.0
    assert countdown.remaining_seconds(95, 100) == 10.0
