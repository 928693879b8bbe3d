"""Version order and constraints follow Terraform."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraform_verifier.hcl.versions import VersionRange, admits, core_bounds, order, provider_bounds, satisfies


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


@pytest.mark.parametrize(
    ("constraint", "possible"),
    [
        ("= 1.5.0", True),
        ("> 2, < 1", False),
        ("> 1.0.0, < 1.0.1", False),
        (">= 1.0, < 1.0.1, != 1.0.0", False),
        (">= 1.0, < 1.0.2, != 1.0.0", True),
        ("< 0.0.1", True),
        ("< 0.0.0", False),
        ("~> 5.0, >= 6", False),
        ("~> 5.0, > 5.99", True),
        ("= 5.0.0, != 5.0", False),
        ("!= 1.0", True),
        ("> 1.0.0-beta, < 1.0.1", True),
        ("= 5.0.0-beta", True),
    ],
)
def test_whether_any_version_can_be_within_a_constraint(constraint: str, possible: bool) -> None:
    bounds = provider_bounds(constraint)
    assert bounds is not None
    assert VersionRange().narrow(bounds) is possible


NUMBERS = st.tuples(*[st.integers(0, 3)] * 3)
PARTS = st.tuples(st.sampled_from(["=", "!=", ">=", "<=", ">", "<", "~>"]), NUMBERS)


@given(st.lists(PARTS, min_size=1, max_size=4))
def test_a_constraint_can_be_met_where_some_version_meets_it(parts: list[tuple[str, tuple[int, int, int]]]) -> None:
    text = ", ".join(f"{operator} {'.'.join(map(str, numbers))}" for operator, numbers in parts)
    bounds = provider_bounds(text)
    assert bounds is not None
    grid = (f"{a}.{b}.{c}" for a in range(6) for b in range(6) for c in range(9))
    assert VersionRange().narrow(bounds) is any(admits(bounds, version) for version in grid)


@given(st.lists(PARTS, min_size=1, max_size=4))
def test_bounds_one_by_one_leave_what_they_leave_together(parts: list[tuple[str, tuple[int, int, int]]]) -> None:
    bounds = [
        bound
        for operator, numbers in parts
        for bound in provider_bounds(f"{operator} {'.'.join(map(str, numbers))}") or []
    ]
    versions, taken = VersionRange(), []
    for bound in bounds:
        if versions.narrow([bound]):
            taken.append(bound)
        else:
            assert not VersionRange().narrow([*taken, bound])
    assert VersionRange().narrow(taken)


@pytest.mark.parametrize(
    ("constraint", "core", "provider"),
    [
        ("~> 1.5", True, True),
        (" >=1.0 , < 2", True, True),
        (">= v1.0", True, False),
        (">= 1.0,  < 2", True, True),
        ("~>  1.5", True, False),
        ("~>\t1.5", True, False),
        (">= 1.5.0-beta1", False, True),
        ("", False, False),
        (">= 1.0,", False, False),
        (">= 1.0 < 2.0", False, False),
        ("== 1.0", False, False),
        ("=> 1.0", False, False),
        ("1.x", False, False),
        ("latest", False, False),
    ],
)
def test_constraints_that_terraform_reads(constraint: str, core: bool, provider: bool) -> None:
    assert (core_bounds(constraint) is not None, provider_bounds(constraint) is not None) == (core, provider)


def test_one_number_after_a_tilde_is_a_major_version_of_providers_alone() -> None:
    core, provider = core_bounds("~> 1"), provider_bounds("~> 1")
    assert core is not None
    assert provider is not None
    assert (admits(core, "2.0.0"), admits(provider, "2.0.0"), admits(provider, "1.9.0")) == (True, False, True)
