"""Builds our images into a registry: base, dependencies, then sources; what the registry has is not built."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from loraform_devcluster import buildenv, images, toolchain
from loraform_devcluster.binaries import BUILD_PACKAGES, install
from loraform_devcluster.buildah import Buildah, free_gigabytes
from loraform_devcluster.images import ENGINE, Image
from loraform_devcluster.layout import Layout
from loraform_devcluster.progress import Progress
from loraform_devcluster.registry import Registry
from loraform_devcluster.shell import DevclusterError, run

HEAVY = ("trainer-deps", ENGINE)
"""Images with torch: while one is built and packed, its layer of 6 GB lies on the disk several times."""
HEAVY_GIGABYTES, GIGABYTES = 35, 10
"""Free disk that building one image needs."""
KEEP_STORAGE_GIGABYTES = 15
"""With less free disk than this the build storage is emptied after the push."""


NOT_IN_BASE = (
    *("etc/hostname", "etc/resolv.conf"),  # this machine's, copied by debootstrap
    *("var/cache/apt/archives/*.deb", "var/cache/apt/*.bin", "var/lib/apt/lists/*Packages"),
)


class Builder:
    """Builds the real Dockerfiles and pushes to one registry."""

    def __init__(self, layout: Layout, registry: Registry, progress: Progress) -> None:
        self._layout = layout
        self._registry = registry
        self._progress = progress
        self._buildah = Buildah(layout.cache / "buildah", layout.cache / "build.log")
        self._built = False

    def load(self, names: list[str]) -> dict[str, str]:
        """Build and push the named images as far as they are missing; return name to reference with digest.

        Raises DevclusterError for an unknown name, a failed build, too little disk or a missing toolchain.
        """
        unknown = set(names) - set(images.NAMES)
        if unknown:
            raise DevclusterError(f"no image named {', '.join(sorted(unknown))}; there are {', '.join(images.NAMES)}")
        install(BUILD_PACKAGES, self._progress)
        self._layout.cache.mkdir(parents=True, exist_ok=True)
        with (self._layout.cache / "build.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits, and then finds everything built
            self._buildah.forget_killed_builds()
            return self._load(names)

    def _load(self, names: list[str]) -> dict[str, str]:
        chosen = [image for image in images.IMAGES if image.name in names]
        references = {image.name: self._image(image) for image in chosen}
        if ENGINE in names:
            references[ENGINE] = self._engine()
        if self._built:
            self._tidy()
        return references

    def _image(self, image: Image) -> str:
        dependencies = self._dependencies(image)
        context, key = toolchain.prepare(self._layout.cache) if image.toolchain else (None, "")
        tag = images.image_key(image, self._layout.checkout, dependencies, key)
        options = ["--build-context", f"deps=docker://{dependencies}", "--build-arg", f"BASE={self._base()}"]
        if context:
            options += ["--build-context", f"toolchain={context}"]
        return self._ensure(image.name, tag, lambda ref: self._build(image.dockerfile, ref, options))

    def _dependencies(self, image: Image) -> str:
        """Return the tagged reference of an image's stage `deps`."""
        name = f"{image.name}-deps"
        tag = images.dependency_key(image, self._layout.checkout, self._locked(image.extra))
        options = ["--target", "deps", "--build-arg", f"BASE={self._base()}"]
        self._ensure(name, tag, lambda ref: self._build(image.dockerfile, ref, options))
        return self._registry.tag(name, tag)

    def _engine(self) -> str:
        base = self._dependencies(images.TRAINER)
        tag = images.engine_key(self._layout.checkout, base)
        options = ["--build-arg", f"BASE={base}"]
        return self._ensure(ENGINE, tag, lambda ref: self._build(images.ENGINE_DOCKERFILE, ref, options))

    def _base(self) -> str:
        """Return the tagged reference of the image that all images begin with."""
        tag = images.base_key(self._layout.checkout)
        self._ensure("base", tag, self._build_base)
        return self._registry.tag("base", tag)

    def _build_base(self, reference: str) -> None:
        python, tag = "python", images.python_key()
        self._ensure(python, tag, self._debootstrap)
        options = ["--build-arg", f"PYTHON={self._registry.tag(python, tag)}"]
        self._build(images.BASE_DOCKERFILE, reference, options)

    def _debootstrap(self, reference: str) -> None:
        self._buildah.temporary.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._buildah.temporary) as folder:
            root = Path(folder) / "root"
            packages = ",".join(images.BASE_PACKAGES)
            log = self._layout.cache / "build.log"
            run(["nice", "debootstrap", "--variant=minbase", f"--include={packages}", images.BASE_SUITE, root], log=log)
            for pattern in NOT_IN_BASE:
                for path in root.glob(pattern):
                    path.unlink()
            self._buildah.from_folder(root, reference)

    def _build(self, dockerfile: str, reference: str, options: list[str]) -> None:
        self._buildah.temporary.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._buildah.temporary) as folder:
            secrets = buildenv.secret_options(os.environ, Path(folder))
            checkout = self._layout.checkout
            self._buildah.build(checkout / dockerfile, checkout, reference, [*secrets, *options])

    def _ensure(self, name: str, key: str, build: Callable[[str], None]) -> str:
        """Return the reference with digest of name:key, building and pushing it when the registry lacks it."""
        pinned = self._registry.pinned(name, key)
        if pinned:
            return pinned
        self._require_space(name)
        reference = self._registry.tag(name, key)
        with self._progress.step(f"build image {name}"):
            build(reference)
        with self._progress.step(f"push image {name}"):
            self._buildah.push(reference, plain=self._registry.plain)
        self._built = True
        pinned = self._registry.pinned(name, key)
        if pinned is None:
            raise DevclusterError(f"{reference} was pushed, but {self._registry.host} does not tell its digest")
        return pinned

    def _require_space(self, name: str) -> None:
        """Make room by dropping layers of earlier builds; raises DevclusterError when that is not enough."""
        needed = HEAVY_GIGABYTES if name in HEAVY else GIGABYTES
        if free_gigabytes(self._layout.cache) < needed:
            with self._progress.step("empty the build storage: little disk is left"):
                self._buildah.forget_everything()
        free = free_gigabytes(self._layout.cache)
        if free < needed:
            raise DevclusterError(
                f"building images needs {needed} GB of free disk under {self._layout.cache}, there are {free:.0f}: "
                "free some, or name another disk with --cache"
            )

    def _locked(self, extra: str) -> str:
        """Return the lock's excerpt for an extra: an unrelated change of the lock rebuilds nothing."""
        uv = shutil.which("uv") or shutil.which("uv", path=self._layout.checkout / ".tools" / "bin")
        if uv is None:
            raise DevclusterError("uv is needed to read uv.lock: run `make setup`, or install it with `pip install uv`")
        options = ["--frozen", "--quiet", "--no-emit-project", "--no-annotate", "--no-header", "--extra", extra]
        return run([uv, "export", *options, "--project", self._layout.checkout])

    def _tidy(self) -> None:
        if free_gigabytes(self._layout.cache) < KEEP_STORAGE_GIGABYTES:
            with self._progress.step("empty the build storage: little disk is left"):
                self._buildah.forget_everything()
