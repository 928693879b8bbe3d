"""Reflexion: what a model is told of a refused program, whether to ask again, and which candidate is kept. Pure.

Gateway and evaluation go the same course, so that what is measured is what is served. Intent has no part in it: in an
evaluation it is what was held out, and in serving nobody has written it down. Texts here are `main.tf` as it would be
served, after the house-policy rewrite: lines of findings are lines of that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from loraform_api.verification import WITH_REFERENCE, Diagnostic, ProgramVerdict, Stage, StageResult
from loraform_verifier.hcl.parse import parse

MAX_FINDINGS = 5
MAX_FINDING = 400
"""Characters of one finding; what a message says beyond them is its program again."""
NO_SUCH_TYPE = "InvalidResourceType"
REFUSED = "This program for it was refused:"
REASONS = "Why:"
ASK = "Write the whole program again without these faults. Change as little as possible."

_RESOURCE = re.compile(r'^[ \t]*resource[ \t]+"([^"\n]+)"[ \t]+"([^"\n]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A whole program and its verdict, which holds every stage that the course may know."""

    text: str
    verdict: ProgramVerdict

    @classmethod
    def served(cls, text: str, verdict: ProgramVerdict) -> Candidate:
        """Return an answer's program as it would be served: as its verdict rewrote it, where it did."""
        served = text if verdict.rewritten is None else verdict.rewritten
        return cls(served, verdict.model_copy(update={"rewritten": None}))

    @property
    def results(self) -> list[StageResult]:
        """What the stages said, in the order in which they ran, without Intent."""
        return [result for result in self.verdict.stages if result.stage not in WITH_REFERENCE]

    @property
    def passed(self) -> frozenset[Stage]:
        return frozenset(result.stage for result in self.results if result.passed)

    @property
    def findings(self) -> list[Diagnostic]:
        """What is wrong, first what stopped the program. What a stage could not decide is no fault of the author's."""
        failed = [result for result in reversed(self.results) if not result.passed and not result.inconclusive]
        return [finding for result in failed for finding in result.diagnostics]

    @property
    def standing(self) -> tuple[int, int]:
        """How good it is, larger is better: stages passed, then fewer diagnostics."""
        against = sum(len(result.diagnostics) for result in self.results if not result.passed)
        return len(self.passed), -against

    def resources(self) -> dict[str, int]:
        """Return the addresses of its resources with their lines, as far as the text can be read."""
        document = parse(self.text)
        if not document.problems:
            return {block.address: block.line for block in document.resources()}
        found = _RESOURCE.finditer(self.text)
        return {f"{match[1]}.{match[2]}": self.text.count("\n", 0, match.start()) + 1 for match in found}


@dataclass(frozen=True, slots=True)
class Course:
    """The best candidate after each round; the first is the model's first answer."""

    best: tuple[Candidate, ...]
    stalled: bool = False
    """The last round brought nothing: a greedy model would be asked, and would answer, the same again."""

    def open(self, rounds: int) -> bool:
        """Say whether one more repair is worth its tokens, of at most `rounds`."""
        return len(self.best) <= rounds and not self.stalled and bool(self.best[-1].findings)

    def after(self, repair: Candidate | None) -> Course:
        """Return the course after one more round; None stands for an answer that was cut off."""
        kept = self.best[-1]
        better = repair is not None and improves(repair, kept, self.best[0])
        return replace(self, best=(*self.best, repair if repair and better else kept), stalled=not better)


def begin(first: Candidate) -> Course:
    """Return the course of a first answer."""
    return Course((first,))


def checks(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages whose verdicts a course may know."""
    return [stage for stage in stages if stage not in WITH_REFERENCE]


def repair_input(asked: str, candidate: Candidate) -> str:
    """Return what stands in the prompt's `### Input:` when a program is to be repaired; the instruction is unchanged.

    `asked` is the input of the prompt that the program answers, often empty.
    """
    findings = "\n".join(map(_line, candidate.findings[:MAX_FINDINGS]))
    # Blank lines before the program stay: findings count them.
    parts = (asked.strip(), f"{REFUSED}\n{candidate.text.rstrip()}", f"{REASONS}\n{findings}", ASK)
    return "\n\n".join(part for part in parts if part)


def improves(repair: Candidate, kept: Candidate, first: Candidate) -> bool:
    """Say whether `repair` takes the place of `kept`: better, and worse in nothing that `kept` had.

    Among equals the one that changed less of `first` stands.
    """
    if kept.passed - repair.passed or lost_resources(kept, repair):
        return False
    return (*repair.standing, -churn(first, repair)) > (*kept.standing, -churn(first, kept))


def lost_resources(before: Candidate, after: Candidate) -> set[str]:
    """Return the addresses that `after` lacks: a finding that went with its resource was not repaired.

    A resource whose type does not exist may come back under another type and the same name.
    """
    had, has = before.resources(), after.resources()
    unknown = {finding.line for finding in before.findings if finding.code == NO_SUCH_TYPE}
    new_names = {_name(address) for address in has.keys() - had.keys()}
    gone = had.keys() - has.keys()
    return {address for address in gone if had[address] not in unknown or _name(address) not in new_names}


def churn(first: Candidate, other: Candidate) -> float:
    """Return the share of lines that only one of them has, 0 to 1."""
    # Lines by number, not by place: linear in the text, whatever a model wrote.
    return 1 - SequenceMatcher(None, first.text.splitlines(), other.text.splitlines()).quick_ratio()


def _name(address: str) -> str:
    return address.rpartition(".")[2]


def _line(finding: Diagnostic) -> str:
    file = finding.file or ("main.tf" if finding.line is not None else "")
    place = f"{file}{'' if finding.line is None else f':{finding.line}'} ".lstrip()
    hint = f" ({finding.hint})" if finding.hint else ""
    return " ".join(f"{place}{finding.code}: {finding.message}{hint}".split())[:MAX_FINDING]
