"""Follows one object until its end: a live display on a terminal, otherwise one line for each change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from rich.console import Console
from rich.live import Live

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import IaCModel
from loraform_cli.cluster import Unreachable
from loraform_cli.display import arms_table, paired_text, view
from loraform_cli.object_state import ObjectState, changes, minutes, state_of

INTERVAL_SECONDS = 1.0

Resource = TypeVar("Resource", bound=FineTuneJob | IaCModel)


class Watch(Generic[Resource]):
    """Follows the object that `read` returns; tests pass their own clock and pause."""

    def __init__(
        self,
        read: Callable[[], Resource],
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._read = read
        self._console = console
        self._clock = clock
        self._pause = pause
        self._started = clock()
        self._last: Resource | None = None

    def until_done(
        self, timeout: float | None = None, done: Callable[[Resource], ObjectState] = state_of
    ) -> ObjectState:
        """Show the object until `done` says how it ended; RUNNING means that `timeout` seconds passed before."""
        if not self._console.is_terminal:
            return self._follow(self._print_changes, timeout, done)
        with Live(console=self._console, refresh_per_second=4) as live:
            return self._follow(lambda _, now: live.update(view(now, self._elapsed())), timeout, done)

    def print_result(self) -> None:
        """Print the result of the object as last read."""
        if self._last is not None:
            describe(self._console, self._last)

    def _follow(
        self,
        show: Callable[[Resource | None, Resource], None],
        timeout: float | None,
        done: Callable[[Resource], ObjectState],
    ) -> ObjectState:
        while True:
            try:
                now = self._read()
            except Unreachable as error:
                self._console.print(f"the cluster cannot be read, retrying: {error}", markup=False)
            else:
                show(self._last, now)
                self._last = now
                if (end := done(now)) is not ObjectState.RUNNING:
                    return end
            if timeout is not None and self._elapsed() > timeout:
                return ObjectState.RUNNING
            self._pause(INTERVAL_SECONDS)

    def _print_changes(self, before: Resource | None, now: Resource) -> None:
        for line in changes(before, now):
            self._console.print(f"{minutes(self._elapsed()):>6}  {line}", markup=False, highlight=False, soft_wrap=True)

    def _elapsed(self) -> float:
        return self._clock() - self._started


def describe(console: Console, resource: FineTuneJob | IaCModel) -> None:
    """Print the result of an object."""
    if isinstance(resource, IaCModel):
        if (endpoint := resource.status.endpoint) is not None:
            console.print(f"version {resource.status.live_version} answers at {endpoint.url}")
        return
    if resource.status.evaluation is not None:
        console.print(arms_table(resource.status.evaluation))
        console.print(paired_text(resource.status.evaluation), soft_wrap=True)
    artifact = resource.status.artifact
    if artifact is not None:
        console.print(f"adapter {artifact.digest[:16]} at {artifact.uri}", soft_wrap=True)
