"""The checks of one program that are made in Python; `sandbox.worker` calls them in its process.

Each takes a program's texts and returns plain data. Its syntax trees stay in the process, and only while they are
small: the trees of a batch would not fit into memory together.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from loraform_api.verification import Diagnostic, HousePolicy, IntentSpec, Stage, StageResult
from loraform_verifier.hcl.configuration import OVERRIDE, Configuration, with_file
from loraform_verifier.hcl.modules import Modules, modules_of
from loraform_verifier.hcl.normalise import Normalised, normalise
from loraform_verifier.hcl.parse import parse
from loraform_verifier.hcl.requirements import Requirement, mismatch, unmet
from loraform_verifier.policy.house_policy import PolicyFindings
from loraform_verifier.policy.program import check_program
from loraform_verifier.policy.rewrite import rewrite
from loraform_verifier.rego.evaluate import PackFinding
from loraform_verifier.schema.catalogue import Catalogue
from loraform_verifier.schema.check import check_configuration
from loraform_verifier.schema.settings import requirements, settings_errors
from loraform_verifier.security.literal_secrets import secret_diagnostics
from loraform_verifier.stages.denials import denials
from loraform_verifier.stages.intent import missing_requirements
from loraform_verifier.stages.results import MAX_FINDINGS, result
from loraform_verifier.terraform.plannable import Plannable, plannable

KEPT_BYTES = 256_000
"""Bytes of the programs whose syntax trees are kept between stages: the largest file, or a batch of common answers. A
tree is up to 540 times as large."""
MAX_REASONS = 10
Versions = tuple[tuple[str, str], ...]
"""Source address and version of each provider."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a program, and where its modules may come from."""

    files: tuple[tuple[str, str], ...]
    """Path and text, sorted by path."""
    registry: str = ""
    """Default host of registry addresses."""
    mirror: Path | None = None
    """Module mirror."""

    def with_files(self, files: Mapping[str, str]) -> Sources:
        """Return these sources with other files."""
        return replace(self, files=tuple(files.items()))


@dataclass(frozen=True, slots=True)
class Toolset:
    """The versions that constraints are held against."""

    product: str
    installed: Mapping[str, str]
    """Version by source address of each provider, and of Terraform itself as `CORE`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the first look at a program gives."""

    problems: list[Diagnostic]
    """Its syntax errors."""
    rewritten: dict[str, str]
    """Its files after the rewrite; empty without one."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A program as it is given to terraform: to Validate, and to Plan if it is to be planned."""

    normalised: Normalised
    plannable: Plannable | None


class _ParsedProgram:
    """The syntax trees of a program and of the modules that it calls."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.configuration = Configuration({name: parse(text) for name, text in sources.files})

    @cached_property
    def modules(self) -> Modules:
        return modules_of(self.configuration, self._sources.registry, self._sources.mirror)

    @property
    def size(self) -> int:
        """Bytes of the texts that have been parsed."""
        size = sum(len(document.source) for document in self.configuration.documents.values())
        return size + (self.modules.mirrored_bytes if "modules" in self.__dict__ else 0)


class _Kept:
    """The programs that were parsed last: a batch of few small programs passes all stages without being parsed anew."""

    def __init__(self) -> None:
        self._programs: OrderedDict[Sources, tuple[_ParsedProgram, int]] = OrderedDict()
        self._bytes = 0

    def parsed(self, sources: Sources) -> _ParsedProgram:
        program, size = self._programs.pop(sources, (None, sum(len(text) for _, text in sources.files)))
        self._bytes -= size if program else 0
        while self._programs and self._bytes + size > KEPT_BYTES:
            _, (_, oldest) = self._programs.popitem(last=False)
            self._bytes -= oldest
        program = program or _ParsedProgram(sources)
        if (size := program.size) <= KEPT_BYTES:
            self._programs[sources] = program, size
            self._bytes += size
        return program


_KEPT = _Kept()


def read(sources: Sources, policy: HousePolicy | None) -> Reading:
    """Parse a program, and rewrite it by a policy if there is one and the program has no problems."""
    problems = _problems(sources)
    if policy is None or problems:
        return Reading(problems, {})
    rewritten = {
        name: rewrite(document, policy) for name, document in _KEPT.parsed(sources).configuration.documents.items()
    }
    return Reading(_problems(sources.with_files(rewritten)), rewritten)


def check_schema(sources: Sources, paths: tuple[Path, ...], versions: Versions | None) -> StageResult:
    """Check against the schemas in `paths`, each provider in the version that `versions` gives."""
    findings = check_configuration(_KEPT.parsed(sources).configuration, _catalogue(paths, versions))
    return result(Stage.SCHEMA, findings.errors, findings.undecided)


def prepare(sources: Sources, tools: Toolset | None, *, to_plan: bool) -> StageResult | Prepared:
    """Normalise a program for terraform, or return the result of one that must not reach it."""
    program = _KEPT.parsed(sources)
    configuration, modules = program.configuration, program.modules
    reasons = list(_overriding(configuration))
    reasons += [d for name, document in configuration.documents.items() for d in with_file(name, denials(document))]
    reasons += modules.refused
    if reasons:
        return result(Stage.VALIDATE, [], reasons[:MAX_REASONS])
    if errors := settings_errors(configuration, modules):
        return result(Stage.VALIDATE, errors)
    if mismatches := list(_mismatches(requirements(configuration, modules), tools)):
        return result(Stage.VALIDATE, [], mismatches[:MAX_REASONS])
    normalised = normalise(configuration, modules)
    return Prepared(normalised, plannable(configuration, normalised, modules) if to_plan else None)


def check_policy(sources: Sources, plan: bytes | None, policy: HousePolicy, prompt: str) -> PolicyFindings:
    """Check the house policy, by the plan where there is one, and look for literal secrets."""
    program = _KEPT.parsed(sources)
    modules, planned = (Modules(), None) if plan is None else (program.modules, json.loads(plan))
    house = check_program(program.configuration, modules, planned, policy)
    secrets = (d for name, text in sources.files for d in with_file(name, secret_diagnostics(text, prompt)))
    return PolicyFindings([*house.broken, *secrets][:MAX_FINDINGS], house.undecided[:MAX_FINDINGS])


def check_intent(sources: Sources, asked: IntentSpec) -> list[Diagnostic]:
    """Return a diagnostic for each requirement of the prompt that the program does not meet."""
    return missing_requirements(_KEPT.parsed(sources).configuration.blocks(), asked)[:MAX_FINDINGS]


def placed(sources: Sources, findings: Sequence[PackFinding]) -> list[Diagnostic]:
    """Return the findings of packs, each with the file and line of its resource."""
    configuration = _KEPT.parsed(sources).configuration
    return [_placed(configuration, finding) for finding in findings]


def _placed(configuration: Configuration, finding: PackFinding) -> Diagnostic:
    for name, document in configuration.module().items():
        diagnostic = finding.diagnostic(document)
        if diagnostic.line is not None:
            return diagnostic.model_copy(update={"file": name})
    return finding.diagnostic()


def _problems(sources: Sources) -> list[Diagnostic]:
    return _KEPT.parsed(sources).configuration.problems[:MAX_FINDINGS]


@cache
def _catalogue(paths: tuple[Path, ...], versions: Versions | None) -> Catalogue:
    return Catalogue(paths, None if versions is None else dict(versions))


def _overriding(configuration: Configuration) -> Iterator[Diagnostic]:
    for name in configuration.documents:
        if OVERRIDE.search(name):
            message = "Override files are not allowed: terraform merges them into other files."
            yield Diagnostic(code="BlockedByPolicy", message=message, file=name)


def _mismatches(asked: Sequence[Requirement], tools: Toolset | None) -> Iterator[Diagnostic]:
    """Yield a finding for each version constraint that this toolchain does not meet."""
    if tools is not None:
        for requirement in unmet(asked, tools.installed):
            yield mismatch(requirement, tools.installed[requirement.subject], tools.product)
