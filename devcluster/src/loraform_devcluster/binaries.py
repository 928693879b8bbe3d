"""The programs of a node, each from PATH, from Debian's archive, or built from its Go module.

Go programs are pinned by the go.mod and go.sum under devcluster/go and kept in the cache under a key of all that
decides their bytes, so a second clone on the same machine builds nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loraform_devcluster.layout import Layout
from loraform_devcluster.progress import Progress
from loraform_devcluster.shell import DevclusterError, run, succeeds


@dataclass(frozen=True)
class GoProgram:
    """A command built from a committed module: `pin` is the required module that gives its version."""

    name: str
    module: str
    package: str
    pin: str = ""
    version_variables: tuple[str, ...] = ()
    tags: str = ""
    cgo: bool = False


@dataclass(frozen=True)
class DebianProgram:
    """A file of a Debian package; the package is unpacked into the cache and never installed, so no service starts."""

    name: str
    package: str
    path: str


def _kubernetes(name: str) -> GoProgram:
    variables = ("k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion")
    return GoProgram(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", "k8s.io/kubernetes", variables)


def _containerd(name: str) -> GoProgram:
    module = "github.com/containerd/containerd/v2"
    return GoProgram(name, "containerd", f"{module}/cmd/{name}", module, (f"{module}/version.Version",))


PROGRAMS: tuple[GoProgram | DebianProgram, ...] = (
    DebianProgram("etcd", "etcd-server", "usr/bin/etcd"),
    DebianProgram("docker-registry", "docker-registry", "usr/bin/docker-registry"),
    DebianProgram("ptp", "containernetworking-plugins", "usr/lib/cni/ptp"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kubectl"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    _containerd("containerd"),
    _containerd("containerd-shim-runc-v2"),
    _containerd("ctr"),
    GoProgram(
        "runc",
        "runc",
        "github.com/opencontainers/runc",
        "github.com/opencontainers/runc",
        ("main.version",),
        "seccomp",
        True,
    ),
    GoProgram("pause", "pause", "."),
    GoProgram("coredns", "coredns", "."),
)
"""What `up` needs, in the order in which it is needed."""

TOOLS: tuple[GoProgram | DebianProgram, ...] = (
    GoProgram(
        "helm", "helm", "helm.sh/helm/v4/cmd/helm", "helm.sh/helm/v4", ("helm.sh/helm/v4/internal/version.version",)
    ),
    DebianProgram("promtool", "prometheus", "usr/bin/promtool"),
    DebianProgram("prometheus", "prometheus", "usr/bin/prometheus"),
    GoProgram("tofu", "tofu", "github.com/opentofu/opentofu/cmd/tofu", "github.com/opentofu/opentofu"),
    GoProgram(
        "versitygw",
        "versitygw",
        "github.com/versity/versitygw/cmd/versitygw",
        "github.com/versity/versitygw",
        ("main.Version",),
    ),
)
"""What people and tests use beside the cluster."""

HOST_PACKAGES = {"nft": "nftables", "iptables": "iptables", "conntrack": "conntrack"}
"""Commands that must be installed on the host, by Debian package: they need libraries of their own."""

WAIT_FOR_APT = ("-o", "DPkg::Lock::Timeout=600")
"""Another process may be installing now."""
BUILD_PACKAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}


def required_version(go_mod: str, module: str) -> str:
    """Return the version that a go.mod text requires of `module`; raises DevclusterError when it requires none."""
    match = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise DevclusterError(f"go.mod requires no {module}")
    return match.group(1)


def go_flags(program: GoProgram, version: str) -> list[str]:
    """Return the `go build` flags that stamp `version` into the program."""
    stamps = [f"-X {variable}={version}" for variable in program.version_variables]
    flags = ["-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *stamps])]
    return [*flags, "-tags", program.tags] if program.tags else flags


def cache_key(module: Path, flags: list[str], package: str) -> str:
    """Hash what decides a program's bytes: the module's files, the flags and the package."""
    digest = hashlib.sha256()
    for path in sorted(p for p in module.iterdir() if p.name in {"go.mod", "go.sum"} or p.suffix == ".go"):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update("\0".join([*flags, package, os.uname().machine]).encode())
    return digest.hexdigest()[:16]


class Binaries:
    """Finds or makes programs; every path it returns exists."""

    def __init__(self, layout: Layout, progress: Progress) -> None:
        self._layout = layout
        self._progress = progress

    def path(self, name: str) -> Path:
        """Return the path of a program by its name, getting it first when the cache lacks it."""
        program = next(p for p in (*PROGRAMS, *TOOLS) if p.name == name)
        return self._go(program) if isinstance(program, GoProgram) else self._debian(program)

    def missing_builds(self) -> list[str]:
        """Return the names of the programs that would have to be built now."""
        return [p.name for p in PROGRAMS if isinstance(p, GoProgram) and not self._go_target(p)[0].exists()]

    def _go_target(self, program: GoProgram) -> tuple[Path, list[str]]:
        module = self._layout.go_modules / program.module
        version = required_version((module / "go.mod").read_text(), program.pin) if program.pin else "v0"
        flags = go_flags(program, version)
        folder = f"{program.name}-{version}-{cache_key(module, flags, program.package)}"
        return self._layout.cache / "bin" / folder / program.name, flags

    def _go(self, program: GoProgram) -> Path:
        target, flags = self._go_target(program)
        if target.exists():
            return target
        if shutil.which("go") is None:
            raise DevclusterError("Go is needed to build the cluster's programs: put `go` 1.26 or newer on PATH")
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._progress.step(f"build {program.name} from the Go module proxy"), self._locked(program.name):
            if not target.exists():
                self._build(program, target, flags)
        return target

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold the cache's lock of one program: another process may get the same program now."""
        folder = self._layout.cache / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _build(self, program: GoProgram, target: Path, flags: list[str]) -> None:
        if program.cgo and not succeeds(["pkg-config", "--exists", "libseccomp"]):
            install({"libseccomp": "libseccomp-dev", "pkg-config": "pkg-config", "gcc": "gcc"}, self._progress)
        partial = target.with_suffix(".partial")
        env = {"CGO_ENABLED": "1" if program.cgo else "0"}
        module = self._layout.go_modules / program.module
        run(["go", "build", *flags, "-o", partial, program.package], env=env, cwd=module)
        partial.rename(target)

    def _debian(self, program: DebianProgram) -> Path:
        on_path = shutil.which(program.name)
        if on_path:
            return Path(on_path)
        folder = self._layout.cache / "debian" / program.package
        target = folder / program.path
        if target.exists():
            return target
        with self._progress.step(f"unpack {program.package} from Debian's archive"), self._locked(program.package):
            if not target.exists():
                download(program.package, folder)
        return target


def download(package: str, folder: Path) -> None:
    """Unpack the newest version of a Debian package into `folder` without installing it."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package]
    if not succeeds(["apt-cache", "show", package]):
        run(["apt-get", "update", "-q"])
    try:
        run(command, cwd=partial)
    except DevclusterError:  # the package lists are older than the archive
        run(["apt-get", "update", "-q"])
        run(command, cwd=partial)
    archive = next(partial.glob("*.deb"))
    run(["dpkg-deb", "-x", archive, partial])
    archive.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def install(wanted: dict[str, str], progress: Progress) -> None:
    """Install the Debian packages of those commands that are not on PATH; raises DevclusterError where apt cannot."""
    packages = sorted({package for command, package in wanted.items() if shutil.which(command) is None})
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise DevclusterError(f"please install {', '.join(packages)}: this machine has no apt-get")
    with progress.step(f"apt-get install {' '.join(packages)}"):
        if not all(succeeds(["apt-cache", "show", package]) for package in packages):
            run(["apt-get", "update", "-q"])
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *WAIT_FOR_APT, *packages]
        try:
            run(command, env={"DEBIAN_FRONTEND": "noninteractive"})
        except DevclusterError:
            run(["apt-get", "update", "-q"])
            run(command, env={"DEBIAN_FRONTEND": "noninteractive"})
