"""The versions of Terraform and of providers that a program asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.literals import as_string, literal, object_elements
from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.hcl.provider_blocks import required_entries, required_sources
from loraform_verifier.hcl.tree import line_of
from loraform_verifier.hcl.versions import (
    CORE_RELEASES,
    Bound,
    VersionRange,
    admits,
    core_bounds,
    provider_bounds,
)

CORE = ""
"""Subject of a requirement on Terraform itself; other subjects are the sources of providers."""
INVALID = "InvalidVersionConstraint"
NO_SUCH_CORE = "UnsupportedTerraformCoreVersion"
NO_SUCH_PROVIDER = "UnsatisfiableVersionConstraint"
TOOLCHAIN_MISMATCH = "ToolchainMismatch"
EXAMPLE = 'Write a constraint in quotes, for example "~> 5.0" or ">= 1.5, < 2.0".'


@dataclass(frozen=True, slots=True)
class Requirement:
    """A version constraint, and where it is written."""

    subject: str
    constraint: str
    """As written; empty if it is no literal."""
    bounds: list[Bound] | None
    """None if Terraform reads no constraint in it."""
    file: str | None
    line: int | None
    module: str = ""
    """Source of the mirrored module that asks for it; then there is no line in the program."""

    def __str__(self) -> str:
        argument = "required_version" if self.subject == CORE else "version"
        return f'{argument} = "{self.constraint}"{f" of module {self.module}" if self.module else ""}'

    def finding(self, code: str, message: str, hint: str | None = None) -> Diagnostic:
        """Return a finding at the constraint."""
        return Diagnostic(code=code, message=message, hint=hint, line=self.line, file=self.file)


def requirements_of(documents: Iterable[tuple[str, Document]]) -> Iterator[Requirement]:
    """Yield the version constraints of the files of one module."""
    named = list(documents)
    sources = required_sources([block for _, document in named for block in document.blocks])
    for file, document in named:
        for subject, value in _constraints(document.blocks, sources):
            text = as_string(literal(value)) or ""
            bounds = core_bounds(text) if subject == CORE else provider_bounds(text)
            yield Requirement(subject, text[:100], bounds, file, line_of(value))


def _constraints(blocks: Sequence[HclBlock], sources: dict[str, str]) -> Iterator[tuple[str, Node]]:
    for block in blocks:
        version = block.attribute({"terraform": "required_version", "provider": "version"}.get(block.type, ""))
        if version is None or literal(version.value) is None:  # null is as if it were not set
            continue
        if block.type == "terraform":
            yield CORE, version.value
        elif block.labels:
            yield sources.get(block.labels[0], f"hashicorp/{block.labels[0]}"), version.value
    for entry in required_entries(blocks):
        elements = object_elements(entry.value)
        versions = [entry.value] if elements is None else [e.value for e in elements if e.key == "version"]
        yield from ((sources[entry.name], value) for value in versions)


def impossible(requirements: Iterable[Requirement]) -> Iterator[Diagnostic]:
    """Yield an error for each constraint that no release meets, by itself or together with those before it."""
    ranges: defaultdict[str, VersionRange] = defaultdict(VersionRange)
    ranges[CORE].narrow(core_bounds(CORE_RELEASES) or [])
    for requirement in requirements:
        if requirement.bounds is None:
            message = (
                f'"{requirement.constraint}" is no version constraint.'
                if requirement.constraint
                else ("A version constraint must be a literal string that is not empty.")
            )
            yield requirement.finding(INVALID, message, EXAMPLE)
            continue
        if not ranges[requirement.subject].narrow(requirement.bounds):
            yield _unmet_by_all(requirement)


def _unmet_by_all(requirement: Requirement) -> Diagnostic:
    if requirement.subject == CORE:
        message = f"{requirement}: no known version of Terraform satisfies it; releases are {CORE_RELEASES}."
        return requirement.finding(NO_SUCH_CORE, message, "Ask for a version that exists, or remove the constraint.")
    message = (
        f"{requirement}: no known version of provider {requirement.subject} satisfies it, "
        "with the program's other constraints on that provider."
    )
    return requirement.finding(NO_SUCH_PROVIDER, message, "Give bounds that leave a version.")


def unmet(requirements: Iterable[Requirement], installed: Mapping[str, str]) -> Iterator[Requirement]:
    """Yield the constraints that the `installed` versions, by subject, do not meet; others are not checked."""
    for requirement in requirements:
        version = installed.get(requirement.subject)
        if version is not None and requirement.bounds is not None and not admits(requirement.bounds, version):
            yield requirement


def mismatch(requirement: Requirement, version: str, product: str = "Terraform") -> Diagnostic:
    """Return the finding on a constraint that `version` does not meet, though another may."""
    name = product if requirement.subject == CORE else f"provider {requirement.subject}"
    message = f"{requirement} excludes {name} {version}, which is the version here."
    hint = f"Allow {version}, or verify with a version that the constraint allows."
    return requirement.finding(TOOLCHAIN_MISMATCH, message, hint)
