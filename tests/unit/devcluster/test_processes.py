"""Real processes: found again by another starter, a reused pid is not taken for ours, and stopping is certain."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loraform_devcluster.layout import Layout
from loraform_devcluster.processes import Daemon, Processes, start_time, wait_until
from loraform_devcluster.progress import Progress
from loraform_devcluster.shell import DevclusterError, run

STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout(tmp_path, tmp_path / "cache", tmp_path / "state")
    yield layout
    if layout.pids.is_dir():
        for path in layout.pids.glob("[!.]*"):
            Processes(layout).stop(path.name)


def daemon(name: str, *words: str) -> Daemon:
    return Daemon(name, [sys.executable, "-c", *words], lambda: True, ready_seconds=10)


def test_a_daemon_is_started_once_and_found_again(layout: Layout) -> None:
    Processes(layout).ensure(daemon("sleeper", "import time; time.sleep(60)"))
    pid = Processes(layout).running("sleeper")
    Processes(layout).ensure(daemon("sleeper", "import time; time.sleep(60)"))
    assert pid is not None
    assert Processes(layout).running("sleeper") == pid


def test_a_pid_of_somebody_else_is_not_ours(layout: Layout) -> None:
    layout.pids.mkdir(parents=True)
    (layout.pids / "old").write_text(f"{os.getpid()} 1")
    assert Processes(layout).running("old") is None
    Processes(layout).stop("old")
    assert start_time(os.getpid())


def test_a_daemon_that_ends_shows_its_log(layout: Layout) -> None:
    dying = Daemon("dying", [sys.executable, "-c", "raise SystemExit('no such disk')"], lambda: False, 10)
    with pytest.raises(DevclusterError, match="no such disk"):
        Processes(layout).ensure(dying)


def test_a_stubborn_daemon_is_killed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraform_devcluster.processes.STOP_SECONDS", 0.2)
    processes = Processes(layout)
    processes.ensure(daemon("stubborn", STUBBORN))
    log = layout.logs / "stubborn.log"
    assert wait_until(lambda: "up" in log.read_text(), 10)
    pid = processes.running("stubborn")
    assert pid is not None
    processes.stop("stubborn")
    assert not start_time(pid)


def test_a_failed_command_shows_the_end_of_its_output() -> None:
    with pytest.raises(DevclusterError, match=r"(?s)exit code 3.*the reason"):
        run([sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)"])


def test_a_missing_command_is_named() -> None:
    with pytest.raises(DevclusterError, match="cannot run no-such-program"):
        run(["no-such-program"])


def test_progress_prints_one_line_a_step() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("first"):
        pass
    with pytest.raises(ValueError, match="x"), progress.step("second"):
        raise ValueError("x")
    first, second = out.getvalue().splitlines()
    assert first.endswith("s  first")
    assert second.endswith("s  second  FAILED")
