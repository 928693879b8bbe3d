"""Waits for files of mounted ConfigMaps, Secrets and claims: optional volumes may be filled after the pod started."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from loraform_trainer.runtime.errors import MissingReferenceError, StageError
from loraform_trainer.runtime.files import resolve_inside

POLL_SECONDS = 0.5
"""Interval between two looks."""

Result = TypeVar("Result")


def wait_for(
    poll: Callable[[], Result | None],
    missing: str,
    wait_seconds: float,
    error: type[StageError] = MissingReferenceError,
) -> Result:
    """Return the first result of `poll` that is not None; raises `error(missing)` when there is none in `wait_seconds`.

    `poll` is called at least once.
    """
    deadline = time.monotonic() + wait_seconds
    while (result := poll()) is None:
        if time.monotonic() >= deadline:
            raise error(missing)
        time.sleep(POLL_SECONDS)
    return result


def mounted_file(folder: Path, relative: str, description: str, wait_seconds: float) -> Path:
    """Return the path of the file `relative` in `folder`, waiting for it up to `wait_seconds`.

    Raises MissingReferenceError, in which `description` names the file, when it does not appear or is outside `folder`.
    """

    def poll() -> Path | None:
        path = resolve_inside(folder, relative)
        return path if path is not None and path.is_file() else None

    return wait_for(poll, f"{description} was not found", wait_seconds)
