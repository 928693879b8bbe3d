"""Version order and constraints follow Terraform."""

from __future__ import annotations

import pytest

from loraform_verifier.hcl.versions import order, satisfies


@pytest.mark.parametrize(
    ("version", "constraint", "fits"),
    [
        ("5.1.0", "", True),
        ("5.1.0", "5.1", True),
        ("5.1.1", "5.1", False),
        ("5.9.0", "~> 5.1", True),
        ("6.0.0", "~> 5.1", False),
        ("5.1.9", "~> 5.1.0", True),
        ("5.2.0", "~> 5.1.0", False),
        ("5.2.0", ">= 5, < 5.2", False),
        ("5.2.0", "!= 5.2.0", False),
        ("5.2.0", "newest", False),
    ],
)
def test_version_constraints_follow_terraform(version: str, constraint: str, fits: bool) -> None:
    assert satisfies(version, constraint) is fits


def test_versions_sort_by_number() -> None:
    assert sorted(["5.10.0", "5.9.2", "6", "1.10.10-dev"], key=order) == ["1.10.10-dev", "5.9.2", "5.10.0", "6"]
