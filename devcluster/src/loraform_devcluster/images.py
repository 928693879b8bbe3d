"""The images, and the content key of each, so that nothing is built twice."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

BASE_SUITE = "bookworm"
BASE_PACKAGES = ("ca-certificates", "python3", "python3-venv")
API = "api/src/loraform_api"
ENGINE_CLIENT = "engine/src/loraform_engine"
VERIFIER = "verifier-image/src/loraform_verifier"


@dataclass(frozen=True)
class Image:
    """One of our images. `extra` names the dependencies of its stage `deps`, `sources` what its last stage copies."""

    name: str
    dockerfile: str
    extra: str
    sources: tuple[str, ...]
    toolchain: bool = False


TRAINER = Image(
    "trainer",
    "trainer-image/Dockerfile",
    "trainer",
    (API, ENGINE_CLIENT, VERIFIER, "trainer-image/src/loraform_trainer"),
)
IMAGES = (
    Image("operator", "operator/Dockerfile", "operator", (API, "operator/src/loraform_operator")),
    Image("verifier", "verifier-image/Dockerfile", "verifier", (API, VERIFIER), toolchain=True),
    Image(
        "gateway",
        "gateway-image/Dockerfile",
        "gateway",
        (API, ENGINE_CLIENT, VERIFIER, "gateway-image/src/loraform_gateway"),
    ),
    TRAINER,
)
BASE_DOCKERFILE = "base-image/Dockerfile"
ENGINE = "engine-cpu"
ENGINE_DOCKERFILE = "devcluster/engine-cpu/Dockerfile"
NAMES = (*(image.name for image in IMAGES), ENGINE)


def content_key(*parts: str | bytes) -> str:
    """Hash parts, in order and with their borders, to a short tag."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:20]


def tree_key(folder: Path) -> str:
    """Hash names and contents of a source folder, leaving out what Python makes beside it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return content_key(*(part for path in files for part in (str(path.relative_to(folder)), path.read_bytes())))


def listing_key(folder: Path) -> str:
    """Hash names and sizes of a folder of large, versioned files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return content_key(*(f"{path.relative_to(folder)} {path.stat().st_size}" for path in files))


def python_key() -> str:
    """Return the tag of the image with Python: its Debian suite and packages, not the day on which it was made."""
    return content_key(BASE_SUITE, *BASE_PACKAGES, os.uname().machine)


def base_key(checkout: Path) -> str:
    """Return the tag of the image that all images begin with."""
    return content_key(python_key(), tree_key((checkout / BASE_DOCKERFILE).parent))


def dependency_stages(dockerfile: str) -> str:
    """Return the text of a Dockerfile before its last stage."""
    return dockerfile.rpartition("\nFROM ")[0]


def dependency_key(image: Image, checkout: Path, locked: str) -> str:
    """Return the tag of an image's stage `deps`; `locked` is the lock's excerpt for its extra."""
    return content_key(base_key(checkout), dependency_stages((checkout / image.dockerfile).read_text()), locked)


def image_key(image: Image, checkout: Path, dependencies: str, toolchain: str) -> str:
    """Return the tag of a finished image."""
    sources = [tree_key(checkout / source) for source in image.sources]
    return content_key(dependencies, (checkout / image.dockerfile).read_text(), toolchain, *sources)


def engine_key(checkout: Path, dependencies: str) -> str:
    """Return the tag of the CPU engine's image."""
    return content_key(dependencies, tree_key((checkout / ENGINE_DOCKERFILE).parent))
