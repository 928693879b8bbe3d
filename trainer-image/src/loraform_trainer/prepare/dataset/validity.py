"""Whether answers are valid Terraform: asks the verifier, hundreds of programs in one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from loraform_api.verification import VALIDITY, Program, ProgramVerdict, Stage, Toolchain, VerifyRequest, VerifyResponse
from loraform_trainer.prepare.dataset.canonical import digest

Verify = Callable[[VerifyRequest], VerifyResponse]
CHUNK = 500
"""Programs in one request to the verifier."""
CHUNK_CHARACTERS = 4_000_000
"""Characters of one request; the service takes 32 MiB, and JSON may double them."""
REFUSED = "BlockedByPolicy"
"""Inconclusive to the gate; but what the verifier refuses to run, a model should not learn."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a program, or why nobody can say."""

    reason: str
    undecided: bool


class Validity:
    """The verifier as preparation asks it; equal programs are asked about once."""

    def __init__(self, verify: Verify) -> None:
        """`verify` raises what its caller is to see; nothing is caught here."""
        self.verify = verify
        self._known: dict[int, Finding | None] = {}

    @cached_property
    def toolchain(self) -> Toolchain:
        """What judges."""
        return self.verify(VerifyRequest(programs=[], stages=[Stage.PARSE])).toolchain

    def findings(self, programs: Sequence[str]) -> list[Finding | None]:
        """Return, for each program, what is wrong; None when it is valid. At most `CHUNK` programs."""
        keys = [digest(program.encode("utf-8")) for program in programs]
        new = {key: program for key, program in zip(keys, programs, strict=True) if key not in self._known}
        if new:
            asked = [Program(id=str(key), text=text) for key, text in new.items()]
            response = self.verify(VerifyRequest(programs=asked, stages=list(VALIDITY)))
            self._known.update({int(verdict.id): _finding(verdict) for verdict in response.verdicts})
        return [self._known[key] for key in keys]


def _finding(verdict: ProgramVerdict) -> Finding | None:
    failed = next((result for result in verdict.stages if not result.passed), None)
    if failed is None:
        return None
    first = failed.diagnostics[0] if failed.diagnostics else None
    if first is None:
        return Finding(f"{failed.stage} was not passed", undecided=failed.inconclusive)
    place = "" if first.line is None else f", line {first.line}"
    return Finding(f"{first.code}{place}: {first.message}", undecided=failed.inconclusive and first.code != REFUSED)
