"""One rank as a process that says what it found. Imported once by a fork server, as torch takes seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch

from loraform_trainer.runtime.errors import PeerLostError, StageError
from loraform_trainer.runtime.group import TrainingGroup
from loraform_trainer.train.peers.distributed import Patience, join
from loraform_trainer.train.peers.launch import Place

SILENCE = 2.0


Say = Callable[[object], None]


def agree(group: TrainingGroup, say: Say) -> None:
    """Every collective once, after long waits for rank 0."""
    linear = torch.nn.Linear(3, 2)
    linear.weight.grad = torch.full((2, 3), float(group.rank + 1))
    if group.is_main:
        linear.bias.grad = torch.tensor([1.0, 2.0])  # absent on the others
        time.sleep(2 * SILENCE)  # longer than silence is allowed: rank 0 is slow, not lost
    group.sum_gradients(linear.parameters())
    say([linear.weight.grad.tolist(), linear.bias.grad.tolist()])
    say([group.any(group.rank == group.size - 1), group.any(False)])
    say([group.share({"rank": group.rank}), group.share([group.rank])])
    group.wait()


def count(group: TrainingGroup, say: Say) -> None:
    """Sum until a rank is gone."""
    say("joined")
    while True:
        group.sum(torch.ones(1))


def idle(group: TrainingGroup, say: Say) -> None:
    """As one that waits in a kernel of a GPU: only the heartbeat can end it."""
    say("joined")
    threading.Event().wait()


def fail(group: TrainingGroup, say: Say) -> None:
    if group.rank == 1:
        raise ValueError("a fault of its own")
    count(group, say)


SCENARIOS = {"agree": agree, "count": count, "idle": idle, "fail": fail, "absent": agree}


def main(rank: int, size: int, port: int, scenario: str, parent: Connection) -> None:
    """Run one rank to its end."""
    torch.set_num_threads(1)
    say = parent.send
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def lost(message: str) -> None:
        say(f"lost: {message}")
        os._exit(86)

    place = Place(rank=rank, size=size, host="127.0.0.1", port=port)
    meet = 2.0 if scenario == "absent" else 60.0
    try:
        with join(place, stop, Patience(meet=meet, silence=SILENCE), lost) as group:
            SCENARIOS[scenario](group, say)
    except PeerLostError as error:
        say(f"peer lost: {error}")
        os._exit(86)
    except StageError as error:
        say(str(error))
        sys.exit(int(error.code))
