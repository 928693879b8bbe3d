"""Ranks that train together: how they meet, what they add up, and how they notice that one is lost.

A rank may be long in coming to a collective (rank 0 evaluates and writes alone), so a slow collective says nothing.
Life is told by a heartbeat of its own, over the store that rank 0 holds: a rank from which nothing is heard any more
ends the others, and all begin again at the newest checkpoint.
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
from loraform_trainer.train.peers.launch import Place

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_SECONDS = 0.2
CONNECT_SECONDS = 5.0
LEAVE_SECONDS = 5.0
COLLECTIVE = timedelta(days=1)
"""Longest wait of a collective: in effect none, as the heartbeat ends it before."""
LEFT = b"left"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds."""

    meet: float = 1800.0
    """How long a rank waits for the others to come."""
    silence: float = 60.0
    """How long nothing may be heard of a rank."""


@contextmanager
def join(
    place: Place, stop: threading.Event, patience: Patience, lost: Callable[[str], None]
) -> Iterator[TrainingGroup]:
    """Meet the other ranks and be one of them.

    `lost` is called from a thread, with words, when a rank has been silent for too long; it must end the process, whose
    main thread may wait in a collective. Raises SavedAndStoppedError when `stop` is set before all have met, and
    TransientError when they have not met in time; in the body, collectives raise PeerLostError.
    """
    store = meet(place, stop, patience.meet)
    heartbeat = Heartbeat(place, store.clone(), patience.silence, lost)
    with heartbeat:
        _connect(place, store)
        yield Peers(place, store)
    dist.destroy_process_group()


def meet(place: Place, stop: threading.Event, seconds: float) -> Any:
    """Return rank 0's store when every rank has come to it."""
    deadline = time.monotonic() + seconds
    everyone = [f"joined/{rank}" for rank in range(place.size)]
    missing = everyone
    store = None
    while time.monotonic() < deadline:
        try:
            store = store or _reach(place)
            missing = [] if store is not None and store.check(everyone) else _missing(store, everyone)
        except RuntimeError as error:  # a store that is not there yet, or not any more
            log.info("rank %d waits for rank 0 at %s: %s", place.rank, place.host, str(error).splitlines()[0])
            store = None
        if not missing and store is not None:
            store.set_timeout(COLLECTIVE)
            return store
        if stop.wait(LOOK_SECONDS):
            raise SavedAndStoppedError("asked to stop while waiting for the other train pods")
    ranks = ", ".join(name.removeprefix("joined/") for name in missing)
    raise TransientError(
        f"after {seconds:.0f} s {place.size - len(missing)} of {place.size} training processes have met; "
        f"missing ranks: {ranks}. Look for train pods of this run that are not running"
    )


def _reach(place: Place) -> Any:
    """Return the store with this rank in it, or None where it is one that this rank's predecessor was in."""
    main = place.rank == 0
    store = TCPStore(
        "localhost" if main else place.host,
        place.port,
        is_master=main,
        wait_for_workers=False,
        timeout=timedelta(seconds=CONNECT_SECONDS),
    )
    return store if store.add(f"joined/{place.rank}", 1) == 1 else None


def _missing(store: Any, names: list[str]) -> list[str]:
    return names if store is None else [name for name in names if not store.check([name])]


def _connect(place: Place, store: Any) -> None:
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        # torch would abort the process when NCCL fails: no report, and an exit code that counts as a fault of the run
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    with _peers_errors():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore("ranks", store),
            rank=place.rank,
            world_size=place.size,
            timeout=COLLECTIVE,
        )


@contextmanager
def _peers_errors() -> Iterator[None]:
    """Say of what fails between ranks that a rank is lost: nothing else makes a collective fail."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(f"another training process is gone: {str(error).splitlines()[0]}") from error


class Peers(TrainingGroup):
    """One rank of several."""

    def __init__(self, place: Place, store: Any) -> None:
        self.rank = place.rank
        self.size = place.size
        self._store = store
        self._shared = 0

    @override
    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        with _peers_errors():
            dist.all_reduce(tensor)
        return tensor

    @override
    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        learning = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learning])
        self.sum(flat)
        begin = 0
        for parameter in learning:
            parameter.grad = flat[begin : begin + parameter.numel()].view_as(parameter)
            begin += parameter.numel()

    @override
    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor([int(flag)])).item())

    @override
    def share(self, value: T) -> T:
        name = f"shared/{self._shared}"
        self._shared += 1
        with _peers_errors():
            if self.is_main:
                self._store.set(name, json.dumps(value))
                return value
            received: T = json.loads(self._store.get(name))
        return received

    @override
    def wait(self) -> None:
        self.sum(torch.zeros(1))


@dataclass
class Heartbeat:
    """Tells the others that this rank lives, and calls `lost` when one of them is silent for too long."""

    place: Place
    store: Any
    """A connection of its own: the other one may wait for an answer."""
    silence: float
    lost: Callable[[str], None]
    _heard: dict[int, float] = field(default_factory=dict)
    _leaving: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Heartbeat:
        now = time.monotonic()
        self._heard = {rank: now for rank in range(self.place.size) if rank != self.place.rank}
        self.store.set(self._name(self.place.rank), "0")
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._beat, self._watch)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave; rank 0, which holds the store, waits a little for the others to leave before it."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(timeout=LEAVE_SECONDS)
        with suppress(RuntimeError):  # the store left first
            self.store.set(self._name(self.place.rank), LEFT)
            deadline = time.monotonic() + LEAVE_SECONDS
            while self.place.rank == 0 and time.monotonic() < deadline and not self._all_left():
                time.sleep(LOOK_SECONDS)

    def _all_left(self) -> bool:
        return set(self.store.multi_get([self._name(rank) for rank in self._heard])) == {LEFT}

    @staticmethod
    def _name(rank: int) -> str:
        return f"beat/{rank}"

    def _beat(self) -> None:
        """Write and read beats."""
        count, seen = 0, dict.fromkeys(self._heard, b"")
        while not self._leaving.wait(self.silence / 12):
            count += 1
            try:
                self.store.set(self._name(self.place.rank), str(count))
                found = self.store.multi_get([self._name(rank) for rank in seen])
            except RuntimeError as error:
                if not self._leaving.wait(LEAVE_SECONDS):  # the main thread may be about to say why
                    self.lost(f"training process 0 does not answer: {str(error).splitlines()[0]}")
                return
            now = time.monotonic()
            for rank, value in zip(seen, found, strict=True):
                if value != seen[rank] or value == LEFT:
                    seen[rank], self._heard[rank] = value, now

    def _watch(self) -> None:
        """Look at the clock only: reading may hang when the network is gone."""
        while not self._leaving.wait(min(1.0, self.silence / 12)):
            oldest = min(self._heard, key=self._heard.__getitem__)
            silent = time.monotonic() - self._heard[oldest]
            if silent > self.silence:
                self.lost(f"nothing was heard of training process {oldest} for {silent:.0f} s")
                return
