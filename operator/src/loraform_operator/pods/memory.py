"""Containers that were killed for memory: which, by which limit, and what helps. Pure."""

from __future__ import annotations

from typing import Any

from loraform_api.failures import HINTS, FailureClass
from loraform_api.names import CONTAINER_ENGINE, RunStage

Object = dict[str, Any]

PLACED = (RunStage.TRAIN.value, CONTAINER_ENGINE)
"""Containers whose limit is `spec.placement.resources.memory`; no field changes that of the others."""
ENGINE_HINT = "Raise `placement.resources.memory` in a new FineTuneJob, or let the profile's engine reserve less."
FIXED_HINT = "No field changes this limit: make rows or suites smaller in a new FineTuneJob, or report it."


def memory_kill(container: Object) -> Object | None:
    """Return how a container was killed for memory; `lastState` tells it of one that was started again since."""
    ends = (container.get(state, {}).get("terminated") or {} for state in ("state", "lastState"))
    return next((end for end in ends if end.get("reason") == "OOMKilled"), None)


def killed_of(containers: list[Object]) -> list[str]:
    """Return the names of those containers that were killed for memory."""
    return [c["name"] for c in containers if memory_kill(c)]


def memory_words(killed: list[str]) -> str:
    """Say which containers were killed, and which field limits them."""
    return ", ".join(f"container {name} exceeded its memory limit{_limit(name)}" for name in killed)


def memory_hint(killed: list[str]) -> str:
    """Return what helps the first of the containers."""
    if killed[0] == CONTAINER_ENGINE:
        return ENGINE_HINT
    return HINTS[FailureClass.OUT_OF_MEMORY] if killed[0] in PLACED else FIXED_HINT


def _limit(name: str) -> str:
    return " (spec.placement.resources.memory)" if name in PLACED else ", which is fixed"
