"""Public registries, version order, and version constraints of Terraform and of providers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

REGISTRIES = {"Terraform": "registry.terraform.io", "OpenTofu": "registry.opentofu.org"}
"""Host of the public registry by product."""
CORE_RELEASES = ">= 0.1, < 2"
"""Holds every release of Terraform and of OpenTofu; in November 2026 neither has a version 2."""
_PLACES = 3
_BOUND = re.compile(r"(=|!=|>=|<=|>|<|~>|)(\s*)(v?)(\d{1,9}(?:\.\d{1,9})*)([-+][0-9A-Za-z.~+-]+)?")

Version = tuple[int, ...]
"""Three numbers, and a fourth that is 1 for a release and 0 for a pre-release."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One part of a constraint, such as `~> 5.0`."""

    operator: str
    numbers: tuple[int, ...]
    """As written: one to three."""
    prerelease: bool = False

    @property
    def version(self) -> Version:
        return (*self.numbers, *(0,) * (_PLACES - len(self.numbers)), 0 if self.prerelease else 1)

    def admits(self, version: Version) -> bool:
        """Return whether a version is within the bound."""
        own, prefix = self.version, self.numbers[:-1]  # `~>` lets the last given number grow
        return {
            "!=": version != own,
            ">=": version >= own,
            "<=": version <= own,
            ">": version > own,
            "<": version < own,
            "~>": version >= own and version[: len(prefix)] == prefix,
        }.get(self.operator, version == own)


def order(version: str) -> tuple[int, ...]:
    """Return a sort key for a version; a pre-release suffix after `-` is ignored."""
    numbers = [int(part) for part in re.findall(r"\d+", version.split("-", maxsplit=1)[0])[:_PLACES]]
    return tuple(numbers + [0] * (_PLACES - len(numbers)))


def core_bounds(constraint: str) -> list[Bound] | None:
    """Parse a `required_version`; None if Terraform reads no constraint in it."""
    bounds = _parse(constraint, of_core=True)
    return None if bounds is None or any(bound.prerelease for bound in bounds) else bounds


def provider_bounds(constraint: str) -> list[Bound] | None:
    """Parse a provider's version constraint; None if Terraform reads none in it.

    In it `~> 5` is `~> 5.0`, and at most one space follows an operator.
    """
    bounds = _parse(constraint, of_core=False)
    if bounds is None:
        return None
    return [replace(b, numbers=(*b.numbers, 0)) if b.operator == "~>" and len(b.numbers) == 1 else b for b in bounds]


def admits(bounds: Iterable[Bound], version: str) -> bool:
    """Return whether a release is within all bounds."""
    return all(bound.admits((*order(version), 1)) for bound in bounds)


def can_be_met(bounds: Iterable[Bound]) -> bool:
    """Return whether any version can be within all bounds, whether or not it has been released."""
    bounds = list(bounds)
    # The lowest version within the bounds is 0.0.0, a bound, or a few patches above one: `>` and `!=` move it by one.
    starts = [(0, 0, 0, 1), *(bound.version for bound in bounds)]
    patches = range(len(bounds) + 1)
    candidates = [*starts, *((major, minor, patch + n, 1) for major, minor, patch, _ in starts for n in patches)]
    return any(all(bound.admits(version) for bound in bounds) for version in candidates)


def satisfies(version: str, constraint: str) -> bool:
    """Return whether a version meets a constraint such as `~> 5.0, != 5.3.1`; any version meets an empty one."""
    bounds = core_bounds(constraint) if constraint.strip() else []
    return bounds is not None and admits(bounds, version)


def _parse(constraint: str, *, of_core: bool) -> list[Bound] | None:
    bounds = []
    for part in constraint.split(","):
        match = _BOUND.fullmatch(part.strip())
        if match is None:
            return None
        operator, gap, prefix, digits, prerelease = match.groups()
        numbers = tuple(map(int, digits.split(".")))
        if len(numbers) > _PLACES or (not of_core and (prefix or gap not in ("", " "))):
            return None
        bounds.append(Bound(operator, numbers, prerelease=bool(prerelease)))
    return bounds
