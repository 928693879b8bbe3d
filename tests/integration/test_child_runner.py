"""The child runner on this kernel: what it refuses, bounds and cleans up."""

from __future__ import annotations

import os
import select
import sys
import threading
from pathlib import Path

import pytest

from loraform_verifier.sandbox import launcher
from loraform_verifier.sandbox.isolation import PYTHON, Child, IsolationError, Limits, Stopped, run, stoppable

from .waiting import wait_for

PATH = {"PATH": "/usr/bin:/bin"}

SOCKETS = """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK):
    try:
        socket.socket(family, socket.SOCK_DGRAM)
    except PermissionError:
        continue
    print("open", family)
socket.socketpair()
socket.socket(socket.AF_UNIX)
print("done")
"""
ESCAPES = """
import ctypes, os, threading
libc = ctypes.CDLL(None, use_errno=True)
def refused(name, *arguments):
    ctypes.set_errno(0)
    assert getattr(libc, name)(*arguments) == -1 and ctypes.get_errno() == 1, name
refused("unshare", 0x10000000)
refused("setns", 0, 0)
refused("ptrace", 0, 0, 0, 0)
refused("mount", b"none", b"/", b"tmpfs", 0, None)
refused("setsid")
refused("setpgid", 0, 0)
refused("syscall", 425, 1, None)   # io_uring_setup
refused("syscall", 438, 3, 0, 0)   # pidfd_getfd
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
status = open("/proc/self/status").read()
assert "NoNewPrivs:\\t1" in status and "Seccomp:\\t2" in status
print("done")
"""


def python(code: str, folder: Path, **options: object) -> tuple[int, str]:
    command = [sys.executable, "-c", code]
    finished = run(command, cwd=folder, env={}, seconds=60, readable=PYTHON, **options)  # type: ignore[arg-type]
    return finished.returncode, (finished.stdout + finished.stderr).decode()


def gone(pid: int) -> bool:
    """Say whether a process that was killed ended, or waits as a zombie for its new parent, within 10 s."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


def test_no_socket_but_unix(tmp_path: Path) -> None:
    assert python(SOCKETS, tmp_path) == (0, "done\n")


def test_no_way_out_of_the_filter_or_the_group(tmp_path: Path) -> None:
    assert python(ESCAPES, tmp_path) == (0, "thread\ndone\n")


def test_the_environment_is_only_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    finished = run(["/usr/bin/env"], cwd=tmp_path, env={"A": "b", "LC_ALL": "C.UTF-8"}, seconds=60)
    assert sorted(finished.stdout.split()) == [b"A=b", b"LC_ALL=C.UTF-8"]


def test_no_descriptor_is_inherited(tmp_path: Path) -> None:
    secret = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(secret, True)
    code = "import os; print(sorted(int(d) for d in os.listdir('/proc/self/fd')))"
    try:
        assert python(code, tmp_path) == (0, "[0, 1, 2, 3]\n")  # 3 is the listing itself
    finally:
        os.close(secret)


def test_a_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo $! > child; sleep 600"
    finished = run(["/bin/sh", "-c", script], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, seconds=2)
    assert finished.timed_out
    assert finished.returncode == -9
    assert gone(int((tmp_path / "child").read_text()))


def test_a_flood_of_output_is_bounded(tmp_path: Path) -> None:
    limits = Limits(fsize=100_000)
    finished = run(["/bin/sh", "-c", "yes"], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, seconds=60, limits=limits)
    assert finished.flooded
    assert len(finished.stdout) == 100_000


def test_memory_is_bounded(tmp_path: Path) -> None:
    code, text = python("x = bytearray(1 << 30)", tmp_path, limits=Limits(data=256 * 1024 * 1024))
    assert code == 1
    assert "MemoryError" in text


def test_what_cannot_be_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(IsolationError, match="cannot confine /no/such/terraform: FileNotFoundError"):
        run(["/no/such/terraform"], cwd=tmp_path, env={}, seconds=5)


def test_without_a_filter_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "child.py"
    text = Path(launcher.__file__).read_text()
    broken.write_text(text.replace('"x86_64": (', '"x86_64-gone": (').replace('"aarch64": (', '"aarch64-gone": ('))
    monkeypatch.setattr(launcher, "__file__", str(broken))
    with pytest.raises(IsolationError, match="no system call table"):
        Child(["/usr/bin/touch", str(tmp_path / "ran")], cwd=tmp_path, env={})
    assert not (tmp_path / "ran").exists()


def test_a_child_that_nobody_waits_for_is_killed_and_no_other_starts(tmp_path: Path) -> None:
    stop, pids = threading.Event(), tmp_path / "pids"

    def leave() -> None:
        wait_for("the child", lambda: pids.exists() and pids.read_text().endswith("\n"))
        stop.set()

    leaving = threading.Thread(target=leave)
    leaving.start()
    with stoppable(stop):
        for _ in range(2):
            with pytest.raises(Stopped):
                run(["/bin/sh", "-c", "echo $$ >> pids; exec sleep 1000"], cwd=tmp_path, env=PATH, seconds=1000)
    leaving.join()
    (pid,) = pids.read_text().split()
    assert not Path("/proc", pid).exists()


def test_a_run_that_can_be_stopped_ends_by_itself_or_by_its_deadline(tmp_path: Path) -> None:
    with stoppable(threading.Event()):
        assert run(["/bin/true"], cwd=tmp_path, env={}, seconds=60).returncode == 0
        assert run(["/bin/sleep", "1000"], cwd=tmp_path, env={}, seconds=0.2).timed_out
