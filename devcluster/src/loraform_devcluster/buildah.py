"""Runs buildah: without a daemon, with its storage in our cache and without a network of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from loraform_devcluster.shell import run


class Buildah:
    """Builds and pushes with one storage folder; logs go to `log`."""

    def __init__(self, storage: Path, log: Path) -> None:
        self._storage = storage
        self._log = log
        self.temporary = storage / "tmp"
        self._start = [
            *("nice", "buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run")),
            *("--storage-driver", "overlay"),
        ]

    def run(self, *arguments: str | Path, logged: bool = True) -> str:
        """Run one buildah command; with `logged` its output goes to the log, otherwise it is returned."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        env = {"TMPDIR": str(self.temporary)}
        return run([*self._start, *arguments], log=self._log if logged else None, env=env)

    def build(self, dockerfile: Path, context: Path, reference: str, options: list[str]) -> None:
        """Build a Dockerfile as `reference`; unchanged layers are taken from the storage."""
        fixed = ["--isolation=chroot", "--layers", "--tls-verify=false", "--file", str(dockerfile), "--tag", reference]
        self.run("build", *fixed, *options, context)

    def from_folder(self, root: Path, reference: str) -> None:
        """Commit a folder as the only layer of an image."""
        container = self.run("from", "scratch", logged=False).strip()
        archive = self.temporary / "rootfs.tar"
        run(["tar", "--create", "--file", archive, "--directory", root, "."])
        self.run("add", "--quiet", container, archive, "/")
        archive.unlink()
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.run("config", "--env", path, "--cmd", "/bin/sh", container)
        self.run("commit", "--rm", "--quiet", container, reference)

    def push(self, reference: str, *, plain: bool) -> None:
        """Push an image. Layers are zstd: packing and unpacking 6 GB of torch by gzip takes minutes more."""
        options = ["--compression-format=zstd", "--compression-level=1", *(["--tls-verify=false"] if plain else [])]
        self.run("push", "--quiet", *options, reference, f"docker://{reference}")

    def forget_killed_builds(self) -> None:
        """Remove working containers and half-written layers that a killed build has left."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.run("rm", "--all")

    def forget_everything(self) -> None:
        """Empty the storage; what is needed again is pulled from the registry."""
        self.run("rmi", "--all", "--force")
        shutil.rmtree(self.temporary, ignore_errors=True)


def free_gigabytes(folder: Path) -> float:
    """Return the free space on the disk of a folder that may not exist yet."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    stat = os.statvfs(existing)
    return stat.f_bavail * stat.f_frsize / 1e9
