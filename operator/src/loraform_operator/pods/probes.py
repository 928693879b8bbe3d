"""Probes of the containers that serve: when the kubelet waits, and when it restarts one. Pure.

A container has its startup time once; only then its liveness counts. Liveness is slow on purpose: a restarted engine
loses every answer in progress and its adapters, and a busy machine is not a hung process.
"""

from __future__ import annotations

from loraform_operator.kube.objects import Object

ENGINE_START_SECONDS = 3600
"""An engine listens once its model is loaded: half an hour for a large one from slow storage. One that fails exits by
itself, so this bounds only an engine that hangs while it starts."""
START_SECONDS = 300
"""The other containers listen within a second of CPU time, which took 31 s on a machine that was busy."""
HUNG_SECONDS = 120
"""Seconds without an answer to the health check before a container is restarted."""
UNREADY_CHECKS = 3
"""Failed checks before a pod gets no more requests."""
EXEC_START_PERIOD, HTTP_START_PERIOD, LIVE_PERIOD = 5, 1, 30
"""Seconds between two checks; one by `exec` costs about 30 ms of CPU, and the kubelet's own work. The first request
waits for the startup check, so the cheap one is made each second."""
TIMEOUT_SECONDS = 10
"""Longest wait for one answer; starting the program of an `exec` probe takes part of it."""
LOOPBACK_CHECK = """\
import socket, sys
port, path, seconds = sys.argv[1:]
try:
    with socket.create_connection(("127.0.0.1", int(port)), float(seconds)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n".encode())
        answer = connection.makefile().readline().split()
except OSError as error:
    sys.exit(f"no answer from port {port}: {error}")
sys.exit(0 if answer[1:2] == ["200"] else f"port {port} answered {' '.join(answer[1:]) or 'nothing'}")
"""
"""Program of `loopback_probes`, for the Python of the container."""


def loopback_probes(port: int, path: str, *, start_seconds: int) -> Object:
    """Return the probes of a container that listens on the pod's loopback, which the kubelet cannot reach.

    Engine and verifier images have Python.
    """
    words = [str(port), path, str(TIMEOUT_SECONDS - 1)]
    check = {"exec": {"command": ["python3", "-I", "-S", "-c", LOOPBACK_CHECK, *words]}}
    start = _probe(check, EXEC_START_PERIOD, start_seconds // EXEC_START_PERIOD)
    return _probes(start, check, check, ready_period=10)


def http_probes(port: str, *, ready_path: str, live_path: str) -> Object:
    """Return the probes of a container's port that is named `http`, or `https`, whose certificate is not checked."""
    ready, live = (
        {"httpGet": {"path": path, "port": port, "scheme": port.upper()}} for path in (ready_path, live_path)
    )
    start = _probe(live, HTTP_START_PERIOD, START_SECONDS // HTTP_START_PERIOD)
    return _probes(start, ready, live, ready_period=3)


def _probes(start: Object, ready: Object, live: Object, *, ready_period: int) -> Object:
    return {
        "startupProbe": start,
        "readinessProbe": _probe(ready, ready_period, UNREADY_CHECKS),
        "livenessProbe": _probe(live, LIVE_PERIOD, HUNG_SECONDS // LIVE_PERIOD),
    }


def _probe(check: Object, period: int, failures: int) -> Object:
    limits = {"periodSeconds": period, "timeoutSeconds": TIMEOUT_SECONDS, "failureThreshold": failures}
    return {**check, **limits}
