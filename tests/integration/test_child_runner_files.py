"""The wall around files: what a child under it cannot read, write or reach, and could without it."""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loraform_verifier.sandbox import isolation, launcher

ATTEMPTS = """
import json, os, socket, sys
secret, other, address, mark, abstract = json.loads(sys.argv[1])
parent = f"/proc/{os.getppid()}"

def write_memory():
    with open(f"{parent}/mem", "r+b", buffering=0) as memory:
        memory.seek(address)
        memory.write(mark.encode())

def connect():
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect("\\0" + abstract)

def execute_own():
    with open("own", "w") as file:
        file.write("#!/bin/sh\\n")
    os.chmod("own", 0o755)
    if os.spawnv(os.P_WAIT, os.path.abspath("own"), ["own"]):
        raise PermissionError

attempts = {
    "read a secret": lambda: open(secret).read(),
    "list its folder": lambda: os.listdir(os.path.dirname(secret)),
    "read it by a link": lambda: (os.symlink(secret, "link"), open("link").read()),
    "overwrite it": lambda: open(secret, "w").close(),
    "plant beside it": lambda: open(secret + ".new", "w").close(),
    "read another run": lambda: open(other).read(),
    "read accounts": lambda: open("/etc/passwd").read(),
    "list processes": lambda: os.listdir("/proc"),
    "read its parent's environment": lambda: open(f"{parent}/environ").read(),
    "write its parent's memory": write_memory,
    "reach an abstract socket": connect,
    "execute what it wrote": execute_own,
    "use its own folder": lambda: (os.makedirs("a/b"), open("a/b/c", "w").close(), os.rename("a/b/c", "a/d")),
    "use devices": lambda: (open("/dev/null", "w").close(), open("/dev/urandom", "rb").read(1)),
}
for name, attempt in attempts.items():
    try:
        attempt()
    except PermissionError:
        continue
    print(name)
"""
HARMLESS = ["use its own folder", "use devices"]


@pytest.fixture
def unwalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without Landlock."""
    monkeypatch.setattr(isolation, "landlock", lambda: 0)


@pytest.fixture
def listener() -> Iterator[str]:
    """The name of an abstract socket, which a pod's containers share."""
    name = secrets.token_hex(8)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        yield name


def succeeded(folder: Path, listener: str) -> tuple[list[str], bytes]:
    """Run the attempts; return the names of those that succeeded, and what then stood in this process's memory."""
    for place in ("run", "other"):
        (folder / place).mkdir()
        (folder / place / "planted").write_text("secret")
    target = ctypes.create_string_buffer(b"untouched")
    told = [str(folder / "secret"), str(folder / "other/planted"), ctypes.addressof(target), "overwrite", listener]
    (folder / "secret").write_text("secret")
    command = [sys.executable, "-c", ATTEMPTS, json.dumps(told)]
    finished = isolation.run(command, cwd=folder / "run", env={}, seconds=60, readable=isolation.PYTHON)
    assert finished.returncode == 0, finished.output_tail
    return finished.stdout.decode().splitlines(), target.value


@pytest.mark.skipif(launcher.landlock_abi() < launcher.SCOPED_SINCE, reason="the kernel lacks Landlock or its scopes")
def test_a_child_has_its_own_folder_and_nothing_else(tmp_path: Path, listener: str) -> None:
    assert succeeded(tmp_path, listener) == (HARMLESS, b"untouched")
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.usefixtures("unwalled")
def test_without_the_wall_each_attempt_succeeds(tmp_path: Path, listener: str) -> None:
    found, memory = succeeded(tmp_path, listener)
    assert found[-2:] == HARMLESS
    assert len(found) == ATTEMPTS.count(": lambda:") + 3
    assert memory == b"overwrite"


@pytest.mark.parametrize("abi", range(1, launcher.landlock_abi() + 1))
def test_each_version_of_landlock_is_enough_for_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abi: int
) -> None:
    monkeypatch.setattr(isolation, "landlock", lambda: abi)
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("secret")
    command = ["/bin/sh", "-c", "PATH=/usr/bin:/bin; echo kept > own; read line < own; echo $line; cat ../secret"]
    finished = isolation.run(command, cwd=tmp_path / "run", env={}, seconds=60)
    assert finished.stdout.split() == [b"kept"]


def test_a_kernel_without_landlock_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launcher, "landlock_abi", lambda: 0)
    isolation.landlock.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert isolation.run(["/bin/true"], cwd=tmp_path, env={}, seconds=60).returncode == 0
    finally:
        isolation.landlock.cache_clear()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["this kernel offers no Landlock"]


def test_what_should_be_readable_and_is_missing_stops_the_child(tmp_path: Path) -> None:
    if not isolation.landlock():
        pytest.skip("the kernel lacks Landlock")
    with pytest.raises(isolation.IsolationError, match="FileNotFoundError"):
        isolation.run(["/bin/true"], cwd=tmp_path, env={}, seconds=60, readable=[tmp_path / "gone"])


PARENT = """
import ctypes, os, sys
from loraform_verifier.sandbox.isolation import make_undumpable
if os.getuid() == 0:  # root may read everyone's
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after an exec
if sys.argv[1] == "undumpable":
    make_undumpable()
read, write = os.pipe()
if os.fork() == 0:
    for name in ("environ", "mem", "maps"):
        try:
            open(f"/proc/{os.getppid()}/{name}", "rb").close()
        except PermissionError:
            continue
        print(name)
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize(("kind", "opened"), [("dumpable", ["environ", "mem", "maps"]), ("undumpable", [])])
def test_an_undumpable_process_is_closed_to_others_of_its_user(kind: str, opened: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PARENT, kind], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == opened


def test_folders_of_killed_runs_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, foreign = tmp_path / "lf-left", tmp_path / "other"
    for folder in (left, foreign):
        (folder / "a").mkdir(parents=True)
    (tmp_path / "lf-link").symlink_to(foreign)
    (tmp_path / "lf-new").mkdir()  # its owner has yet to lock it
    os.utime(left, (0, 0))
    with isolation.private_folder() as living:
        isolation.remove_leftovers()
        assert not left.exists()
        assert living.is_dir()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["lf-link", "lf-new", "other"]
    assert (foreign / "a").is_dir()


def test_a_verifier_that_dies_leaves_its_folder_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, signal\nfrom loraform_verifier.sandbox import isolation\n"
        "with isolation.private_folder():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], env={"TMPDIR": str(tmp_path)}, check=False, timeout=60)
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    held = os.open(left, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)  # as its owner did
    isolation.remove_leftovers()
    assert left.exists()
    os.close(held)
    isolation.remove_leftovers()
    assert not left.exists()


def test_a_child_that_sees_proc_reaches_no_memory_of_others(tmp_path: Path) -> None:
    if not isolation.landlock():
        pytest.skip("the kernel lacks Landlock")
    code = (
        "import os\nparent = f'/proc/{os.getppid()}'\nprint(open(parent + '/statm') and 'seen')\n"
        "for mode in ('rb', 'r+b'):\n"
        "    try:\n        open(f'{parent}/mem', mode, buffering=0)\n        print('opened')\n"
        "    except PermissionError:\n        pass\n"
    )
    readable = (*isolation.PYTHON, Path("/proc"))
    finished = isolation.run([sys.executable, "-c", code], cwd=tmp_path, env={}, seconds=60, readable=readable)
    assert finished.stdout.split() == [b"seen"], finished.output_tail
