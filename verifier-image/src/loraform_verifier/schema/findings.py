"""Findings of the Schema stage, with the messages and codes that Terraform has for the same errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.parse import HclBlock
from loraform_verifier.terraform.diagnostics import MAX_PER_PROGRAM, code_of

SCHEMA_MISSING = "SchemaMissing"
HALLUCINATION_CODES: frozenset[str] = frozenset(
    {
        "InvalidResourceType",
        "InvalidDataSource",
        "InvalidEphemeralResource",
        "UnsupportedArgument",
        "UnsupportedAttribute",
        "UnsupportedBlockType",
    }
)
"""Codes of errors about names that do not exist: a type, an argument, a block or an attribute."""
Near = tuple[str, Iterable[str]]
"""An unknown name, and the known ones."""
CLOSE = 0.75
"""Similarity from which a known name is suggested."""
SHORTLIST = 40


@dataclass(frozen=True, slots=True)
class SchemaFindings:
    """Errors of a program, and types that are undecided without their provider's schema."""

    errors: list[Diagnostic] = field(default_factory=list)
    undecided: list[Diagnostic] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """True if the limit of errors of a program is reached."""
        return len(self.errors) >= MAX_PER_PROGRAM

    def error(
        self, summary: str, message: str, line: int, hint: str | None = None, *, near: Near | None = None
    ) -> None:
        """Add an error with the code of Terraform's `summary`.

        Without a `hint`, the known name nearest to the name in `near` is suggested.
        """
        if not self.full:
            hint = hint or (did_you_mean(nearest(*near)) if near else None)
            self.errors.append(Diagnostic(code=code_of(summary), message=message, line=line, hint=hint))


@dataclass(frozen=True, slots=True)
class BlockLocation:
    """Name and line of a block for messages."""

    name: str
    """For example `aws_instance.web` or `aws_instance.web, in ebs_block_device`."""
    line: int

    def inside(self, block: HclBlock, name: str) -> BlockLocation:
        """Return the location of a nested block."""
        return BlockLocation(f"{self.name}{' in' if ',' in self.name else ', in'} {name}", block.line)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` may have been meant for."""
    matches = difflib.get_close_matches(name, known, 1, CLOSE)
    return matches[0] if matches else None


@lru_cache(maxsize=1024)
def nearest_type(name: str, known: tuple[str, ...]) -> str | None:
    """Return the nearest of a provider's many types: rank by shared words, then compare letters."""
    words = frozenset(name.split("_"))
    ranked = sorted(known, key=lambda other: (-len(words & set(other.split("_"))), abs(len(other) - len(name))))
    return nearest(name, ranked[:SHORTLIST])


def did_you_mean(name: str | None) -> str | None:
    """Return the hint for a suggested name; None without one."""
    return f'Did you mean "{name}"?' if name else None
