"""Policy packs of the service's command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from loraform_verifier.__main__ import PackError, read_packs
from loraform_verifier.verify import Verifier


def test_each_folder_is_a_pack(tmp_path: Path) -> None:
    for name in ("cost", "network"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pack.rego").write_text(f"package {name}")
    assert read_packs(tmp_path) == {"cost": "package cost", "network": "package network"}
    assert read_packs(None) == {}


def test_a_folder_without_a_pack_is_named(tmp_path: Path) -> None:
    (tmp_path / "cost").mkdir()
    with pytest.raises(PackError, match=r"cost must hold exactly one \.rego file; it holds 0"):
        read_packs(tmp_path)


def test_packs_are_part_of_the_toolchain() -> None:
    verifier = Verifier(packs={"cost": "package cost"})
    assert verifier.toolchain.packs == {"cost": hashlib.sha256(b"package cost").hexdigest()}
