"""Public registries, version order, and Terraform's version constraints."""

from __future__ import annotations

import re

REGISTRIES = {"Terraform": "registry.terraform.io", "OpenTofu": "registry.opentofu.org"}
"""Host of the public registry by product."""
_CONSTRAINT = re.compile(r"^(=|!=|>=|<=|>|<|~>|)\s*v?(\d+(?:\.\d+){0,2})$")


def order(version: str) -> tuple[int, ...]:
    """Return a sort key for a version; a pre-release suffix after `-` is ignored."""
    numbers = [int(part) for part in re.findall(r"\d+", version.split("-", maxsplit=1)[0])[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))


def satisfies(version: str, constraint: str) -> bool:
    """Return whether a version meets a constraint such as `~> 5.0, != 5.3.1`; any version meets an empty one."""
    return all(_meets(order(version), part.strip()) for part in constraint.split(",") if part.strip())


def _meets(version: tuple[int, ...], part: str) -> bool:
    match = _CONSTRAINT.match(part)
    if match is None:
        return False
    operator, numbers = match[1], tuple(int(n) for n in match[2].split("."))
    bound = numbers + (0,) * (3 - len(numbers))
    prefix = numbers[:-1]  # `~>` lets the last given number grow
    return {
        "!=": version != bound,
        ">=": version >= bound,
        "<=": version <= bound,
        ">": version > bound,
        "<": version < bound,
        "~>": version >= bound and version[: len(prefix)] == prefix,
    }.get(operator, version == bound)
