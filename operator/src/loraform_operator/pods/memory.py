"""Containers that were killed for memory: names, limits and hints. Pure."""

from __future__ import annotations

from loraform_api.failures import HINTS, FailureClass
from loraform_api.names import CONTAINER_ENGINE, RunStage
from loraform_operator.kube.objects import Object

PLACED = (RunStage.TRAIN.value, CONTAINER_ENGINE)
"""Containers whose limit is `spec.placement.resources.memory`; the limit of the others is fixed."""
ENGINE_HINT = "Raise `placement.resources.memory` in a new FineTuneJob, or let the profile's engine reserve less."
FIXED_HINT = "No field changes this limit: make rows or suites smaller in a new FineTuneJob, or report it."


def oom_termination(container: Object) -> Object | None:
    """Return the `terminated` state of a container killed for memory, also after a restart; None for any other."""
    ends = (container.get(state, {}).get("terminated") or {} for state in ("state", "lastState"))
    return next((end for end in ends if end.get("reason") == "OOMKilled"), None)


def oom_killed(containers: list[Object]) -> list[str]:
    """Return the names of the containers that were killed for memory."""
    return [c["name"] for c in containers if oom_termination(c)]


def oom_message(killed: list[str]) -> str:
    """Return a message that names the killed containers and the fields that limit them."""
    return ", ".join(f"container {name} exceeded its memory limit{_limit(name)}" for name in killed)


def memory_hint(killed: list[str]) -> str:
    """Return the hint for the first container."""
    if killed[0] == CONTAINER_ENGINE:
        return ENGINE_HINT
    return HINTS[FailureClass.OUT_OF_MEMORY] if killed[0] in PLACED else FIXED_HINT


def _limit(name: str) -> str:
    return " (spec.placement.resources.memory)" if name in PLACED else ", which is fixed"
