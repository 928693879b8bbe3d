"""Public registries of providers, versions, and Terraform's constraints on them."""

from __future__ import annotations

import re

REGISTRIES = {"Terraform": "registry.terraform.io", "OpenTofu": "registry.opentofu.org"}
"""Host of the public registry, by the name of the binary's product."""
_CONSTRAINT = re.compile(r"^(=|!=|>=|<=|>|<|~>|)\s*v?(\d+(?:\.\d+){0,2})$")


def order(version: str) -> tuple[int, ...]:
    """Return a key that sorts versions by age; what follows a hyphen does not count."""
    numbers = [int(part) for part in re.findall(r"\d+", version.split("-", maxsplit=1)[0])[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))


def satisfies(version: str, constraint: str) -> bool:
    """Say whether a version meets a constraint, for example `~> 5.0, != 5.3.1`; empty: any does."""
    return all(_meets(order(version), part.strip()) for part in constraint.split(",") if part.strip())


def _meets(version: tuple[int, ...], part: str) -> bool:
    match = _CONSTRAINT.match(part)
    if match is None:
        return False
    operator, given = match[1], tuple(int(n) for n in match[2].split("."))
    bound = given + (0,) * (3 - len(given))
    kept = given[:-1]  # of `~>`: the last given part may grow
    return {
        "!=": version != bound,
        ">=": version >= bound,
        "<=": version <= bound,
        ">": version > bound,
        "<": version < bound,
        "~>": version >= bound and version[: len(kept)] == kept,
    }.get(operator, version == bound)
