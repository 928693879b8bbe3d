"""Reflexion: repair prompts from findings, the decision to ask again, and the choice of the best candidate. Pure.

Evaluation measures it; the gateway does not serve it yet. Intent is never shown to the model: in an evaluation it is
held out, and a request to the gateway has none. Texts are `main.tf` after the house-policy rewrite, as it would be
served, and lines of findings refer to that text.
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
"""Characters of one finding; longer messages only quote the program."""
NO_SUCH_TYPE = "InvalidResourceType"
REFUSED = "This program for it was refused:"
REASONS = "Why:"
ASK = "Write the whole program again without these faults. Change as little as possible."

_RESOURCE = re.compile(r'^[ \t]*resource[ \t]+"([^"\n]+)"[ \t]+"([^"\n]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program and its verdict."""

    text: str
    verdict: ProgramVerdict

    @classmethod
    def served(cls, text: str, verdict: ProgramVerdict) -> Candidate:
        """Return the candidate of an answer as it would be served: the rewritten program, if there is one."""
        served = text if verdict.rewritten is None else verdict.rewritten
        return cls(served, verdict.model_copy(update={"rewritten": None}))

    @property
    def results(self) -> list[StageResult]:
        """Results of the stages in the order in which they ran, without Intent."""
        return [result for result in self.verdict.stages if result.stage not in WITH_REFERENCE]

    @property
    def passed(self) -> frozenset[Stage]:
        return frozenset(result.stage for result in self.results if result.passed)

    @property
    def findings(self) -> list[Diagnostic]:
        """Diagnostics of the failed stages, the last stage first. Inconclusive stages are left out."""
        failed = [result for result in reversed(self.results) if not result.passed and not result.inconclusive]
        return [finding for result in failed for finding in result.diagnostics]

    @property
    def score(self) -> tuple[int, int]:
        """Sort key, larger is better: stages passed, then fewer diagnostics."""
        diagnostics = sum(len(result.diagnostics) for result in self.results if not result.passed)
        return len(self.passed), -diagnostics

    def resources(self) -> dict[str, int]:
        """Return line by resource address; a regular expression finds them in a text with syntax errors."""
        document = parse(self.text)
        if not document.problems:
            return {block.address: block.line for block in document.resources()}
        matches = _RESOURCE.finditer(self.text)
        return {f"{match[1]}.{match[2]}": self.text.count("\n", 0, match.start()) + 1 for match in matches}


@dataclass(frozen=True, slots=True)
class RepairHistory:
    """The best candidate after each repair round; the first is the model's first answer."""

    best: tuple[Candidate, ...]
    stalled: bool = False
    """The last round brought no improvement: with greedy decoding the next prompt and answer would be the same."""

    def can_continue(self, rounds: int) -> bool:
        """Return whether to ask for one more repair, of at most `rounds`."""
        return len(self.best) <= rounds and not self.stalled and bool(self.best[-1].findings)

    def after(self, repair: Candidate | None) -> RepairHistory:
        """Return the history after one more round; None stands for a truncated answer."""
        current = self.best[-1]
        better = repair is not None and improves(repair, current, self.best[0])
        return replace(self, best=(*self.best, repair if repair and better else current), stalled=not better)


def begin(first: Candidate) -> RepairHistory:
    """Return the history of a first answer."""
    return RepairHistory((first,))


def visible_stages(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages whose verdicts may be used for repairs: all but Intent."""
    return [stage for stage in stages if stage not in WITH_REFERENCE]


def repair_input(prompt_input: str, candidate: Candidate) -> str:
    """Return the `### Input:` of the prompt for a repair; the instruction stays the same.

    `prompt_input` is the input of the original prompt, often empty.
    """
    findings = "\n".join(map(_line, candidate.findings[:MAX_FINDINGS]))
    # Leading blank lines of the program stay, since the line numbers of findings count them.
    parts = (prompt_input.strip(), f"{REFUSED}\n{candidate.text.rstrip()}", f"{REASONS}\n{findings}", ASK)
    return "\n\n".join(part for part in parts if part)


def improves(repair: Candidate, kept: Candidate, first: Candidate) -> bool:
    """Return whether `repair` replaces `kept`: a better score, no lost stage and no lost resource.

    At equal scores the one that changes less of `first` wins.
    """
    if kept.passed - repair.passed or lost_resources(kept, repair):
        return False
    return (*repair.score, -churn(first, repair)) > (*kept.score, -churn(first, kept))


def lost_resources(before: Candidate, after: Candidate) -> set[str]:
    """Return the resource addresses that `after` lacks: deleting a resource is no repair of its findings.

    A resource of an unknown type may come back under another type with the same name.
    """
    had, has = before.resources(), after.resources()
    unknown = {finding.line for finding in before.findings if finding.code == NO_SUCH_TYPE}
    new_names = {_name(address) for address in has.keys() - had.keys()}
    gone = had.keys() - has.keys()
    return {address for address in gone if had[address] not in unknown or _name(address) not in new_names}


def churn(first: Candidate, other: Candidate) -> float:
    """Return the share of lines that only one of the two has, 0 to 1."""
    # quick_ratio counts lines without aligning them, so it is linear for any text.
    return 1 - SequenceMatcher(None, first.text.splitlines(), other.text.splitlines()).quick_ratio()


def _name(address: str) -> str:
    return address.rpartition(".")[2]


def _line(finding: Diagnostic) -> str:
    file = finding.file or ("main.tf" if finding.line is not None else "")
    location = f"{file}{'' if finding.line is None else f':{finding.line}'} ".lstrip()
    hint = f" ({finding.hint})" if finding.hint else ""
    return " ".join(f"{location}{finding.code}: {finding.message}{hint}".split())[:MAX_FINDING]
