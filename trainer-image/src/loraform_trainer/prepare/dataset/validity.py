"""Checks by the verifier whether responses are valid Terraform, with hundreds of programs in one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from loraform_api.verification import VALIDITY, Program, ProgramVerdict, Stage, Toolchain, VerifyRequest, VerifyResponse
from loraform_trainer.prepare.dataset.canonical import digest

Verify = Callable[[VerifyRequest], VerifyResponse]
"""Sends a request to the verifier."""
CHUNK = 500
"""Most programs in one request."""
CHUNK_CHARACTERS = 4_000_000
"""Most characters of programs in one request: the service accepts 32 MiB, and JSON may double them."""
REFUSED = "BlockedByPolicy"
"""The code of a diagnostic that is inconclusive in evaluation, but drops a training row: the verifier refuses to run
such programs, so a model should not learn them."""


@dataclass(frozen=True, slots=True)
class ValidityFinding:
    """Why a program is invalid, or why the verifier could not decide."""

    reason: str
    undecided: bool


class ValidityCheck:
    """Validates programs; equal programs are sent to the verifier once."""

    def __init__(self, verify: Verify) -> None:
        """Errors of `verify` are not caught."""
        self.verify = verify
        self._known: dict[int, ValidityFinding | None] = {}

    @cached_property
    def toolchain(self) -> Toolchain:
        """The versions of Terraform and the providers that validate."""
        return self.verify(VerifyRequest(programs=[], stages=[Stage.PARSE])).toolchain

    def findings(self, programs: Sequence[str]) -> list[ValidityFinding | None]:
        """Return a finding for each program that is not known to be valid, else None; at most `CHUNK` programs."""
        keys = [digest(program.encode("utf-8")) for program in programs]
        new = {key: program for key, program in zip(keys, programs, strict=True) if key not in self._known}
        if new:
            unknown = [Program(id=str(key), text=text) for key, text in new.items()]
            response = self.verify(VerifyRequest(programs=unknown, stages=list(VALIDITY)))
            self._known.update({int(verdict.id): _finding(verdict) for verdict in response.verdicts})
        return [self._known[key] for key in keys]


def _finding(verdict: ProgramVerdict) -> ValidityFinding | None:
    failed = next((result for result in verdict.stages if not result.passed), None)
    if failed is None:
        return None
    first = failed.diagnostics[0] if failed.diagnostics else None
    if first is None:
        return ValidityFinding(f"stage {failed.stage} failed", undecided=failed.inconclusive)
    line = "" if first.line is None else f", line {first.line}"
    undecided = failed.inconclusive and first.code != REFUSED
    return ValidityFinding(f"{first.code}{line}: {first.message}", undecided)
