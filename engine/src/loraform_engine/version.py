"""The least version of vLLM that may serve adapters."""

from __future__ import annotations

import re

from loraform_engine.errors import NotServable

LEAST_VERSION = "0.26.0"
"""Older ones can answer a running request by another adapter after a load (vLLM issue 47724), and cannot be asked for
the log-probability of a given token, which parity needs."""


def check_version(version: str) -> None:
    """Raise NotServable unless `version`, such as `0.32.0+cpu`, is at least `LEAST_VERSION`."""
    numbers = _numbers(version)
    if not numbers or numbers < _numbers(LEAST_VERSION):
        raise NotServable(
            f"the engine is vLLM {version}, but adapters need vLLM {LEAST_VERSION} or newer: "
            "change the profile's engine image"
        )


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
