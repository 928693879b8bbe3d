"""Waiting for mounted files."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraform_trainer.runtime import mounts
from loraform_trainer.runtime.errors import MissingReferenceError


def test_wait_for_returns_a_late_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "POLL_SECONDS", 0.0)
    looks = iter([None, None, "there"])
    assert mounts.wait_for(lambda: next(looks), "it is missing", 60) == "there"


def test_wait_for_raises_the_given_message() -> None:
    with pytest.raises(MissingReferenceError, match="it is missing"):
        mounts.wait_for(lambda: None, "it is missing", 0)


def test_symlinks_are_followed_only_inside_the_mount(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    (mount / "..data").mkdir(parents=True)
    (mount / "..data" / "rows").write_text("rows")
    (mount / "rows").symlink_to("..data/rows")  # as the kubelet mounts a ConfigMap
    (tmp_path / "secret").write_text("secret")
    (mount / "out").symlink_to("../secret")
    assert mounts.mounted_file(mount, "rows", "file", 0).read_text() == "rows"
    for name in ("out", "../secret", "absent"):
        with pytest.raises(MissingReferenceError, match="file was not found"):
            mounts.mounted_file(mount, name, "file", 0)
