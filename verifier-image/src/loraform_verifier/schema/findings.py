"""What the Schema stage found, in the words and classes that Terraform has for the same mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.parse import Block
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
"""Classes of errors in which a program names what does not exist: a type, an argument, a block or an attribute."""
Near = tuple[str, Iterable[str]]
"""A name that is not known, and those that are."""
CLOSE = 0.75
SHORTLIST = 40


@dataclass(frozen=True, slots=True)
class SchemaFindings:
    """What a program breaks, and what could not be decided because a provider's schema is not known."""

    errors: list[Diagnostic] = field(default_factory=list)
    undecided: list[Diagnostic] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """No further error is taken: one program has a limited number, whatever it holds."""
        return len(self.errors) >= MAX_PER_PROGRAM

    def error(
        self, summary: str, message: str, line: int, hint: str | None = None, *, near: Near | None = None
    ) -> None:
        """Add an error of the class that Terraform's `summary` stands for.

        Without a `hint` the name of `near` is looked for among the known ones.
        """
        if not self.full:
            hint = hint or (did_you_mean(nearest(*near)) if near else None)
            self.errors.append(Diagnostic(code=code_of(summary), message=message, line=line, hint=hint))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block is, as its author would say it."""

    name: str
    """For example `aws_instance.web` or `aws_instance.web, in ebs_block_device`."""
    line: int

    def inside(self, block: Block, name: str) -> Place:
        """Return the place of a nested block."""
        return Place(f"{self.name}{' in' if ',' in self.name else ', in'} {name}", block.line)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` may have been meant for."""
    found = difflib.get_close_matches(name, known, 1, CLOSE)
    return found[0] if found else None


@lru_cache(maxsize=1024)
def nearest_type(name: str, known: tuple[str, ...]) -> str | None:
    """Do as `nearest` for the many types of a provider: first by shared words, then by letters."""
    words = frozenset(name.split("_"))
    ranked = sorted(known, key=lambda other: (-len(words & set(other.split("_"))), abs(len(other) - len(name))))
    return nearest(name, ranked[:SHORTLIST])


def did_you_mean(name: str | None) -> str | None:
    """Return the hint that names it."""
    return f'Did you mean "{name}"?' if name else None
