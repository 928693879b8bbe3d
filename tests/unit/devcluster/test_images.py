from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from loraform_devcluster import images
from loraform_devcluster.images import IMAGES, Image
from loraform_devcluster.layout import CHECKOUT

DOCKERFILES = [*(image.dockerfile for image in IMAGES), images.ENGINE_DOCKERFILE]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "base-image").mkdir()
    (tmp_path / "base-image" / "Dockerfile").write_text("FROM python\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "code.py").write_text("one = 1\n")
    (tmp_path / "Dockerfile").write_text("FROM base AS deps\nRUN install\n\nFROM deps\nCOPY src /app\n")
    return tmp_path


IMAGE = Image("thing", "Dockerfile", "extra", ("src",))


def test_a_source_edit_changes_the_image_but_not_its_dependencies(checkout: Path) -> None:
    dependencies = images.dependency_key(IMAGE, checkout, "lock")
    image = images.image_key(IMAGE, checkout, dependencies, "")
    (checkout / "src" / "code.py").write_text("one = 2\n")
    assert images.dependency_key(IMAGE, checkout, "lock") == dependencies
    assert images.image_key(IMAGE, checkout, dependencies, "") != image


def test_the_last_stage_is_not_part_of_the_dependencies(checkout: Path) -> None:
    before = images.dependency_key(IMAGE, checkout, "lock")
    (checkout / "Dockerfile").write_text("FROM base AS deps\nRUN install\n\nFROM deps\nCOPY src /elsewhere\n")
    assert images.dependency_key(IMAGE, checkout, "lock") == before
    assert images.dependency_key(IMAGE, checkout, "other lock") != before


def test_compiled_files_do_not_count(checkout: Path) -> None:
    before = images.tree_key(checkout / "src")
    (checkout / "src" / "__pycache__").mkdir()
    (checkout / "src" / "__pycache__" / "code.pyc").write_bytes(b"\0")
    assert images.tree_key(checkout / "src") == before


def test_key_keeps_the_borders_of_its_parts() -> None:
    assert images.content_key("ab", "c") != images.content_key("a", "bc")


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_dockerfile_copies_just_the_sources_that_make_its_key(image: Image) -> None:
    last = (CHECKOUT / image.dockerfile).read_text().rpartition("\nFROM ")[2]
    copied = re.findall(r"^COPY (\S+/src/\S+) ", last, re.MULTILINE)
    assert tuple(copied) == image.sources


def test_a_change_of_the_base_image_changes_the_dependencies(checkout: Path) -> None:
    before = images.dependency_key(IMAGE, checkout, "lock")
    (checkout / "base-image" / "Dockerfile").write_text("FROM python\nRUN more\n")
    assert images.dependency_key(IMAGE, checkout, "lock") != before


@pytest.mark.parametrize("path", DOCKERFILES)
def test_dockerfile_runs_as_our_user(path: str) -> None:
    assert "\nUSER 65532:65532\n" in (CHECKOUT / path).read_text()


def test_images_get_no_downloaded_interpreters() -> None:
    users = [p for p in CHECKOUT.glob("*/*") if p.is_file() and "uv sync" in p.read_text(errors="ignore")]
    assert [p.parent.name for p in users if p.name in ("Dockerfile", "install-extra")] == ["base-image"]
    assert "UV_PYTHON_DOWNLOADS=never" in (CHECKOUT / "base-image/install-extra").read_text()


def test_engine_uses_the_trainers_versions() -> None:
    """A package that the trainer's layer already has must stay as it is: the engine adds, it does not replace."""
    locked: dict[str, set[str]] = {}
    for package in tomllib.loads((CHECKOUT / "uv.lock").read_text())["package"]:
        locked.setdefault(package["name"], set()).add(package.get("version", ""))
    lines = (CHECKOUT / "devcluster/engine-cpu/requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    trainers = {
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "numpy",
        "triton",
        "setuptools",
        "huggingface-hub",
    }
    differing = {name: pinned[name] for name in trainers & pinned.keys() if pinned[name] not in locked[name]}
    assert not differing, "remake requirements.txt with the commands at the top of requirements.in"
