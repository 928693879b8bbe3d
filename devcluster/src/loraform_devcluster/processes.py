"""Starts the cluster's long-running processes once, finds them again by pid file, and ends them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loraform_devcluster.layout import Layout
from loraform_devcluster.shell import DevclusterError, tail

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Daemon:
    """One process of the cluster: its command line and how to see that it serves."""

    name: str
    command: Sequence[str | Path]
    ready: Callable[[], bool]
    ready_seconds: float = 60.0
    env: Mapping[str, str] = field(default_factory=dict)


def start_time(pid: int) -> str:
    """Return the kernel's start time of a process, empty when it is gone or a zombie; tells a reused pid apart."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def wait_until(condition: Callable[[], bool], seconds: float, interval: float = 0.1) -> bool:
    """Return True as soon as `condition` holds, False when `seconds` have passed without it."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


class Processes:
    """Starts, finds and stops the daemons of one state folder by their pid files."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def running(self, name: str) -> int | None:
        """Return the pid of a daemon started earlier, None when it does not run."""
        try:
            pid, started = (self._layout.pids / name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if start_time(int(pid)) == started else None

    def ensure(self, daemon: Daemon) -> None:
        """Start the daemon unless it runs and wait until it is ready; DevclusterError shows the end of its log."""
        log = self._layout.logs / f"{daemon.name}.log"
        self._layout.pids.mkdir(parents=True, exist_ok=True)
        with (self._layout.pids / f".{daemon.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # `up` and `load-images` may run at the same time
            if self.running(daemon.name) is None:
                self._start(daemon, log)

        def settled() -> bool:
            return self.running(daemon.name) is None or daemon.ready()

        in_time = wait_until(settled, daemon.ready_seconds)
        if self.running(daemon.name) is None:
            raise DevclusterError(f"{daemon.name} ended; the end of {log}:\n{tail(log)}")
        if not in_time:
            raise DevclusterError(
                f"{daemon.name} is not ready after {daemon.ready_seconds:.0f} s; {log} ends:\n{tail(log)}"
            )

    def _start(self, daemon: Daemon, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            child = subprocess.Popen(
                [str(word) for word in daemon.command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **daemon.env},
                cwd="/",
                start_new_session=True,
            )
        (self._layout.pids / daemon.name).write_text(f"{child.pid} {start_time(child.pid)}")

    def stop(self, name: str) -> None:
        """End a daemon: politely, after ten seconds by force."""
        pid = self.running(name)
        if pid is not None:
            end(pid)
        (self._layout.pids / name).unlink(missing_ok=True)


def end(pid: int) -> None:
    """End one process by its pid and wait until it is gone."""
    started = start_time(pid)
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if not started or start_time(pid) != started:
            break
        os.kill(pid, signum)
        wait_until(lambda: _gone(pid, started), STOP_SECONDS)


def _gone(pid: int, started: str) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # reap it when it is our own child
    return start_time(pid) != started


def command_lines() -> dict[int, list[str]]:
    """Return the command line of every process on the machine."""
    commands: dict[int, list[str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                commands[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
    return commands
