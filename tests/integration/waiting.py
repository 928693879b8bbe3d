"""What the tests of real processes wait for, and where those listen."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from kubernetes import client

Found = TypeVar("Found")
NOT_YET = (OSError, KeyError, client.ApiException)
"""What a look meets where the thing looked for does not stand yet."""


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = 60) -> Found:
    """Return the first truthy answer of `look`, asked again and again until the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(*NOT_YET):
            if found := look():
                return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s")


def free_port() -> int:
    with socket.create_server(("", 0)) as found:
        return int(found.getsockname()[1])
