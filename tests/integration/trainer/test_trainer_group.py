"""Ranks as processes on loopback: what they decide together, and how they notice that one is gone."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from .forks import FORKS, Import

DEADLINE_SECONDS = 90
SILENCE = 2.0


@dataclass
class Rank:
    process: BaseProcess
    words: Connection

    def says(self) -> Any:
        """What it says next."""
        assert self.words.poll(DEADLINE_SECONDS)
        return self.words.recv()

    def ends(self) -> tuple[int | None, list[Any]]:
        """Its exit code, and what it said that was not read before."""
        self.process.join(DEADLINE_SECONDS)
        said = []
        while self.words.poll():
            try:
                said.append(self.words.recv())
            except EOFError:
                break
        return self.process.exitcode, said


class Ranks:
    """Processes of one group; each can be started again."""

    def __init__(self, main: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._main = main
        self.started: list[Rank] = []

    def start(self, rank: int, size: int, scenario: str) -> Rank:
        here, there = FORKS.Pipe()
        process = FORKS.Process(target=self._main, args=(rank, size, self.port, scenario, there))
        process.start()
        there.close()
        self.started.append(Rank(process, here))
        return self.started[-1]


@pytest.fixture
def ranks(forked: Import) -> Iterator[Ranks]:
    made = Ranks(forked("group_member").main)
    yield made
    for rank in made.started:
        rank.process.kill()
        rank.process.join()


def test_ranks_sum_and_decide_the_same_and_wait_for_a_slow_one(ranks: Ranks) -> None:
    members = [ranks.start(rank, 2, "agree") for rank in range(2)]
    for member in members:
        code, said = member.ends()
        assert code == 0
        assert said == [[[[3.0] * 3] * 2, [1.0, 2.0]], [True, False], [{"rank": 0}, [0]]]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_other_at_once(ranks: Ranks, victim: int) -> None:
    members = [ranks.start(rank, 2, "count") for rank in range(2)]
    assert [member.says() for member in members] == ["joined", "joined"]
    members[victim].process.kill()
    began = time.monotonic()
    code, said = members[1 - victim].ends()
    assert code == 86
    assert said[0].startswith("peer lost: another training process is gone")
    assert time.monotonic() - began < 5 * SILENCE


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_goes_silent_is_given_up(ranks: Ranks, victim: int) -> None:
    """Stopped, not dead: its connections stay, as when a node's network is gone."""
    members = [ranks.start(rank, 2, "idle") for rank in range(2)]
    assert [member.says() for member in members] == ["joined", "joined"]
    os.kill(members[victim].process.pid or 0, signal.SIGSTOP)
    began = time.monotonic()
    code, said = members[1 - victim].ends()
    assert code == 86
    assert said[0].startswith(f"lost: training process {victim} sent no heartbeat for 2 s")
    assert SILENCE / 2 < time.monotonic() - began < 5 * SILENCE


def test_a_killed_rank_0_ends_one_that_is_in_no_collective(ranks: Ranks) -> None:
    members = [ranks.start(rank, 2, "idle") for rank in range(2)]
    assert [member.says() for member in members] == ["joined", "joined"]
    members[0].process.kill()
    code, said = members[1].ends()
    assert code == 86
    assert said[0].startswith("lost: ")


def test_a_rank_that_fails_by_itself_is_a_lost_one_for_the_others(ranks: Ranks) -> None:
    members = [ranks.start(rank, 2, "fail") for rank in range(2)]
    assert [member.ends()[0] for member in members] == [86, 1]


def test_ranks_that_never_come_are_named(ranks: Ranks) -> None:
    members = [ranks.start(rank, 4, "absent") for rank in (0, 2)]
    for member in members:
        code, said = member.ends()
        assert code == 70
        assert "2 of 4 training processes joined within 2 s; missing ranks: 1, 3." in said[0]


def test_without_rank_0_all_are_missing(ranks: Ranks) -> None:
    code, said = ranks.start(1, 2, "absent").ends()
    assert code == 70
    assert "0 of 2 training processes joined within 2 s; missing ranks: 0, 1." in said[0]


def test_asked_to_stop_while_waiting_for_the_others(ranks: Ranks) -> None:
    member = ranks.start(0, 2, "count")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not listening(ranks.port) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(member.process.pid or 0, signal.SIGTERM)
    assert member.ends() == (85, ["stopped on request while waiting for the other train pods"])


def test_a_rank_that_comes_back_waits_for_the_next_meeting(ranks: Ranks) -> None:
    """Rank 1 dies and is back before rank 0 has noticed: what rank 0 holds is the old meeting."""
    first = [ranks.start(rank, 2, "idle") for rank in range(2)]
    assert [member.says() for member in first] == ["joined", "joined"]
    first[1].process.kill()
    back = ranks.start(1, 2, "agree")
    assert first[0].ends()[0] == 86
    again = ranks.start(0, 2, "agree")
    assert [member.ends()[0] for member in (again, back)] == [0, 0]


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
