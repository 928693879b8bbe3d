"""Programs on their way through the stages."""

from __future__ import annotations

from dataclasses import dataclass, field

from loraform_api.verification import Diagnostic, Program, ProgramVerdict, Stage, StageResult
from loraform_verifier.hcl.configuration import MAIN_FILE
from loraform_verifier.stages.own_checks import Prepared, Sources


@dataclass(slots=True)
class ProgramRow:
    """One program and its results so far."""

    program: Program
    sources: Sources
    """Its files: after the rewrite, if one was asked for."""
    problems: list[Diagnostic] = field(default_factory=list)
    """Its syntax errors."""
    unread: Diagnostic | None = None
    """Why it could not be read; such a program passes no stage."""
    rewritten: dict[str, str] = field(default_factory=dict)
    results: list[StageResult] = field(default_factory=list)
    seconds: float = 0
    prepared: Prepared | None = None
    """The program as it is given to terraform; set by Validate."""
    plan: bytes | None = None
    """Its plan in JSON; set by Plan."""

    @property
    def open(self) -> bool:
        """True if the program goes on to the next stage."""
        if self.unread is not None:
            return not self.results
        return all(result.passed or _stops_nothing(result) for result in self.results)

    def verdict(self) -> ProgramVerdict:
        """Return the verdict over the stages that have run."""
        files = dict(self.rewritten)
        return ProgramVerdict(
            id=self.program.id,
            passed=all(result.passed for result in self.results),
            stages=self.results,
            seconds=round(self.seconds, 4),
            rewritten=files.pop(MAIN_FILE, None),
            rewritten_files=files,
        )


def _stops_nothing(result: StageResult) -> bool:
    """Return whether later stages run although this one was not passed."""
    return result.stage is Stage.FORMAT or (result.stage is Stage.SCHEMA and result.inconclusive)
