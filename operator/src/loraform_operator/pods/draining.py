"""How an engine ends: after the answers that its agent still passes on. Pure.

vLLM answers no request that is in progress when it is told to stop, and keeps its connection open until it is killed.
"""

from __future__ import annotations

from loraform_operator.kube.objects import Object

POLL_SECONDS = 0.5
WAIT_FOR_END = """\
import socket, sys, time
port, poll, seconds = sys.argv[1:]
until = time.monotonic() + float(seconds)
while time.monotonic() < until:
    try:
        socket.create_connection(("127.0.0.1", int(port)), 1).close()
    except ConnectionRefusedError:
        break
    except OSError:
        pass
    time.sleep(float(poll))
"""
"""Program of `after_end_of`, for the Python of the container."""


def after_end_of(port: int, *, seconds: int) -> Object:
    """Return the lifecycle of a container that is told to stop once nothing listens on `port` of its pod any more, or
    after `seconds`."""
    words = [str(port), str(POLL_SECONDS), str(seconds)]
    return {"lifecycle": {"preStop": {"exec": {"command": ["python3", "-I", "-S", "-c", WAIT_FOR_END, *words]}}}}
