"""Public registries, version order, and version constraints of Terraform and of providers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

REGISTRIES = {"Terraform": "registry.terraform.io", "OpenTofu": "registry.opentofu.org"}
"""Host of the public registry by product."""
CORE_RELEASES = ">= 0.1, < 2"
"""Holds every release of Terraform and of OpenTofu; in November 2026 neither has a version 2."""
_PLACES = 3
_BOUND = re.compile(r"(=|!=|>=|<=|>|<|~>|)(\s*)(v?)(\d{1,9}(?:\.\d{1,9})*)([-+][0-9A-Za-z.~+-]+)?")

Version = tuple[int, ...]
"""Three numbers, and a fourth that is 1 for a release and 0 for a pre-release."""

_FIRST: Version = (0, 0, 0, 0)
_BEYOND: Version = (10**10, 0, 0, 0)
"""Above all versions: their numbers have at most nine digits."""


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

    @property
    def lowest(self) -> tuple[Version, bool]:
        """Where the bound begins, and True if that version is outside."""
        begins = self.operator not in ("!=", "<", "<=")
        return (self.version, self.operator == ">") if begins else (_FIRST, False)

    @property
    def highest(self) -> tuple[Version, bool]:
        """Where the bound ends, and True if that version is inside."""
        if self.operator == "~>" and len(self.numbers) > 1:
            *head, last = self.numbers[:-1]
            after = (*head, last + 1)
            return (*after, *(0,) * (_PLACES + 1 - len(after))), False
        ends = self.operator not in ("!=", ">", ">=", "~>")
        return (self.version, self.operator != "<") if ends else (_BEYOND, False)

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


class VersionRange:
    """What bounds leave of all versions, whether or not these have been released."""

    def __init__(self) -> None:
        self._lowest, self._highest = (_FIRST, False), (_BEYOND, False)
        self._excluded: set[Version] = set()
        self._prereleases: list[Version] = []
        self._left: Version = (*_FIRST[:_PLACES], 1)
        """One version that is left."""

    def narrow(self, bounds: Iterable[Bound]) -> bool:
        """Take away what is not within all bounds, and return True. If nothing would be left, return False instead."""
        bounds = list(bounds)
        lowest = max([self._lowest, *(bound.lowest for bound in bounds)])
        highest = min([self._highest, *(bound.highest for bound in bounds)])
        excluded = {bound.version for bound in bounds if bound.operator == "!="}
        prereleases = [bound.version for bound in bounds if bound.prerelease]
        # The lowest release within bounds is a bound, or a few patches above one: `>` and `!=` move it by one. Those
        # below the one that was left are outside already.
        (major, minor, patch, _) = self._left if self._left[-1] and lowest <= (self._left, False) else lowest[0]
        steps = range(len(self._excluded) + len(excluded) + 2)
        releases = ((major, minor, patch + step, 1) for step in steps)
        for version in chain([self._left], releases, self._prereleases, prereleases):
            inside = lowest <= (version, False) and (version, True) <= highest
            if inside and version not in excluded and version not in self._excluded:
                self._lowest, self._highest, self._left = lowest, highest, version
                self._excluded |= excluded
                self._prereleases += prereleases
                return True
        return False


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
