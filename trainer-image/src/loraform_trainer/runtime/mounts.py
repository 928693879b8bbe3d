"""Files of mounted ConfigMaps, Secrets and claims. What is optional in a pod may appear some time after its start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from loraform_trainer.runtime.errors import MissingReferenceError, StageError
from loraform_trainer.runtime.files import inside

POLL_SECONDS = 0.5

Found = TypeVar("Found")


def wait_for(
    look: Callable[[], Found | None],
    missing: str,
    wait_seconds: float,
    error: type[StageError] = MissingReferenceError,
) -> Found:
    """Return what `look` finds; raises `error` saying `missing` when it finds nothing in time."""
    deadline = time.monotonic() + wait_seconds
    while (found := look()) is None:
        if time.monotonic() >= deadline:
            raise error(missing)
        time.sleep(POLL_SECONDS)
    return found


def mounted(folder: Path, relative: str, what: str, wait_seconds: float) -> Path:
    """Return the file `relative` in `folder`; `what` names it in the error when it does not come."""

    def look() -> Path | None:
        path = inside(folder, relative)
        return path if path is not None and path.is_file() else None

    return wait_for(look, f"{what} was not found", wait_seconds)
