from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest

from loraform_devcluster import binaries
from loraform_devcluster.binaries import (
    PROGRAMS,
    TOOLS,
    Binaries,
    DebianProgram,
    GoProgram,
    cache_key,
    go_flags,
    required_version,
)
from loraform_devcluster.layout import CHECKOUT, Layout
from loraform_devcluster.progress import Progress
from loraform_devcluster.shell import DevclusterError

MODULES = CHECKOUT / "devcluster" / "go"


def test_version_is_read_from_either_form_of_require() -> None:
    assert required_version("module x\n\nrequire k8s.io/kubernetes v1.36.3\n", "k8s.io/kubernetes") == "v1.36.3"
    assert required_version("require (\n\ta.b/c v2.0.1 // indirect\n)\n", "a.b/c") == "v2.0.1"


def test_missing_requirement_is_named() -> None:
    with pytest.raises(DevclusterError, match=r"requires no a\.b/c"):
        required_version("module x\n", "a.b/c")


def test_key_changes_with_sums_flags_and_package(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module x")
    first = cache_key(tmp_path, ["-s"], "p")
    assert cache_key(tmp_path, ["-s"], "p") == first
    (tmp_path / "notes.md").write_text("not part of a build")
    assert cache_key(tmp_path, ["-s"], "p") == first
    others = {cache_key(tmp_path, ["-w"], "p"), cache_key(tmp_path, ["-s"], "q")}
    (tmp_path / "go.sum").write_text("h1:…")
    assert len({first, *others, cache_key(tmp_path, ["-s"], "p")}) == 4


def test_flags_stamp_the_version_and_name_the_tags() -> None:
    program = GoProgram("x", "x", "x", "m", ("main.version",), tags="seccomp")
    flags = go_flags(program, "v1")
    assert flags[flags.index("-ldflags") + 1] == "-s -w -X main.version=v1"
    assert flags[-2:] == ["-tags", "seccomp"]


@pytest.mark.parametrize("program", [p for p in (*PROGRAMS, *TOOLS) if isinstance(p, GoProgram)], ids=lambda p: p.name)
def test_every_go_program_is_pinned(program: GoProgram) -> None:
    module = MODULES / program.module
    text = (module / "go.mod").read_text()
    if program.pin:
        version = required_version(text, program.pin)
        assert f"{program.pin} {version} h1:" in (module / "go.sum").read_text()


def test_two_runs_that_need_one_debian_program_download_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = next(p for p in TOOLS if isinstance(p, DebianProgram))
    downloads: list[str] = []
    second = Barrier(2)

    def download(package: str, folder: Path) -> None:
        downloads.append(package)
        with suppress(BrokenBarrierError):
            second.wait(timeout=0.5)  # a second download, if there is one, has begun by now
        (folder / program.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / program.path).touch()

    monkeypatch.setattr(binaries, "download", download)
    monkeypatch.setenv("PATH", str(tmp_path))
    layout = Layout(CHECKOUT, tmp_path / "cache", tmp_path / "state")
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: Binaries(layout, Progress()).path(program.name), range(2)))
    assert all(path.exists() for path in paths)
    assert downloads == [program.package]
