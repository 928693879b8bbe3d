"""Ranks that train together: rendezvous, collectives, and detection of lost ranks.

A slow collective does not mean that a rank is lost, as rank 0 evaluates and writes alone. So each rank sends a
heartbeat over rank 0's store. When one falls silent, the other ranks end, and all resume from the newest checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined] # documented, but not in its __all__
from typing_extensions import override

from loraform_trainer.runtime.errors import PeerLostError, SavedAndStoppedError, TransientError
from loraform_trainer.runtime.group import TrainingGroup
from loraform_trainer.train.peers.launch import ProcessRank

log = logging.getLogger(__name__)

T = TypeVar("T")

POLL_SECONDS = 0.2
CONNECT_SECONDS = 5.0
LEAVE_SECONDS = 5.0
COLLECTIVE_TIMEOUT = timedelta(days=1)
"""In effect no timeout: the heartbeat ends the process earlier."""
LEFT = b"left"
"""Value of a rank's heartbeat once it has left the group."""


@dataclass(frozen=True, slots=True)
class PeerTimeouts:
    """Timeouts in seconds."""

    rendezvous: float = 1800.0
    """How long a rank waits for the others to join."""
    silence: float = 60.0
    """Time without a heartbeat after which a rank is lost."""


@contextmanager
def join(
    rank: ProcessRank, stop: threading.Event, timeouts: PeerTimeouts, on_peer_lost: Callable[[str], None]
) -> Iterator[TrainingGroup]:
    """Wait for all ranks and yield their group.

    `on_peer_lost` is called from a thread with a message when a rank has been silent for too long. It must end the
    process, as the main thread may block in a collective. Raises SavedAndStoppedError when `stop` is set before all
    ranks have joined, and TransientError when they have not joined in time; in the body, collectives raise
    PeerLostError.
    """
    store = rendezvous(rank, stop, timeouts.rendezvous)
    heartbeat = Heartbeat(rank, store.clone(), timeouts.silence, on_peer_lost)
    with heartbeat:
        _connect(rank, store)
        yield DistributedGroup(rank, store)
    dist.destroy_process_group()


def rendezvous(rank: ProcessRank, stop: threading.Event, seconds: float) -> Any:
    """Return rank 0's store once every rank has joined it."""
    deadline = time.monotonic() + seconds
    keys = [f"joined/{number}" for number in range(rank.size)]
    missing = keys
    store = None
    while time.monotonic() < deadline:
        try:
            store = store or _connect_store(rank)
            missing = [] if store is not None and store.check(keys) else _missing(store, keys)
        except RuntimeError as error:  # rank 0's store is not up yet, or has gone
            log.info("rank %d waits for rank 0 at %s: %s", rank.rank, rank.host, str(error).splitlines()[0])
            store = None
        if not missing and store is not None:
            store.set_timeout(COLLECTIVE_TIMEOUT)
            return store
        if stop.wait(POLL_SECONDS):
            raise SavedAndStoppedError("stopped on request while waiting for the other train pods")
    ranks = ", ".join(key.removeprefix("joined/") for key in missing)
    raise TransientError(
        f"{rank.size - len(missing)} of {rank.size} training processes joined within {seconds:.0f} s; "
        f"missing ranks: {ranks}. Look for train pods of this run that are not running"
    )


def _connect_store(rank: ProcessRank) -> Any:
    """Join rank 0's store and return it; None if an earlier process of this rank has joined the same store."""
    store = TCPStore(
        "localhost" if rank.is_main else rank.host,
        rank.port,
        is_master=rank.is_main,
        wait_for_workers=False,
        timeout=timedelta(seconds=CONNECT_SECONDS),
    )
    return store if store.add(f"joined/{rank.rank}", 1) == 1 else None


def _missing(store: Any, keys: list[str]) -> list[str]:
    return keys if store is None else [key for key in keys if not store.check([key])]


def _connect(rank: ProcessRank, store: Any) -> None:
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        # by default torch aborts the process when NCCL fails: no report, and an exit code that counts against the run
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    with _collective_errors():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore("ranks", store),
            rank=rank.rank,
            world_size=rank.size,
            timeout=COLLECTIVE_TIMEOUT,
        )


@contextmanager
def _collective_errors() -> Iterator[None]:
    """Raise PeerLostError for a collective that fails: nothing but a lost rank makes one fail."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(f"another training process is gone: {str(error).splitlines()[0]}") from error


class DistributedGroup(TrainingGroup):
    """A group of several ranks, by torch.distributed."""

    def __init__(self, rank: ProcessRank, store: Any) -> None:
        self.rank = rank.rank
        self.size = rank.size
        self._store = store
        self._shared_values = 0

    @override
    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        with _collective_errors():
            dist.all_reduce(tensor)
        return tensor

    @override
    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        trainable = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trainable])
        self.sum(flat)
        begin = 0
        for parameter in trainable:
            parameter.grad = flat[begin : begin + parameter.numel()].view_as(parameter)
            begin += parameter.numel()

    @override
    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor([int(flag)])).item())

    @override
    def share(self, value: T) -> T:
        key = f"shared/{self._shared_values}"
        self._shared_values += 1
        with _collective_errors():
            if self.is_main:
                self._store.set(key, json.dumps(value))
                return value
            received: T = json.loads(self._store.get(key))
        return received

    @override
    def wait(self) -> None:
        self.sum(torch.zeros(1))


@dataclass
class Heartbeat:
    """Sends this rank's heartbeat, and calls `on_peer_lost` when another rank's is missing for `silence` seconds."""

    rank: ProcessRank
    store: Any
    """A connection of its own: the main thread's may block on a response."""
    silence: float
    on_peer_lost: Callable[[str], None]
    _last_seen: dict[int, float] = field(default_factory=dict)
    """Monotonic time of each other rank's newest heartbeat."""
    _leaving: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Heartbeat:
        now = time.monotonic()
        self._last_seen = {number: now for number in range(self.rank.size) if number != self.rank.rank}
        self.store.set(self._key(self.rank.rank), "0")
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._beat, self._watch)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the group; rank 0, which holds the store, waits up to `LEAVE_SECONDS` for the others to leave first."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(timeout=LEAVE_SECONDS)
        with suppress(RuntimeError):  # the store left first
            self.store.set(self._key(self.rank.rank), LEFT)
            deadline = time.monotonic() + LEAVE_SECONDS
            while self.rank.is_main and time.monotonic() < deadline and not self._all_left():
                time.sleep(POLL_SECONDS)

    def _all_left(self) -> bool:
        return set(self.store.multi_get([self._key(number) for number in self._last_seen])) == {LEFT}

    @staticmethod
    def _key(rank: int) -> str:
        return f"beat/{rank}"

    def _beat(self) -> None:
        """Write this rank's heartbeat and read the others' until the group is left."""
        count, last_values = 0, dict.fromkeys(self._last_seen, b"")
        while not self._leaving.wait(self.silence / 12):
            count += 1
            try:
                self.store.set(self._key(self.rank.rank), str(count))
                values = self.store.multi_get([self._key(number) for number in last_values])
            except RuntimeError as error:
                if not self._leaving.wait(LEAVE_SECONDS):  # the main thread may be about to report the cause
                    self.on_peer_lost(f"training process 0 does not respond: {str(error).splitlines()[0]}")
                return
            now = time.monotonic()
            for number, value in zip(last_values, values, strict=True):
                if value != last_values[number] or value == LEFT:
                    last_values[number], self._last_seen[number] = value, now

    def _watch(self) -> None:
        """Check the clock only: reading the store may hang when the network is gone."""
        while not self._leaving.wait(min(1.0, self.silence / 12)):
            oldest = min(self._last_seen, key=self._last_seen.__getitem__)
            silent = time.monotonic() - self._last_seen[oldest]
            if silent > self.silence:
                self.on_peer_lost(f"training process {oldest} sent no heartbeat for {silent:.0f} s")
                return
