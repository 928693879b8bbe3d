"""The results of stages."""

from __future__ import annotations

from collections.abc import Sequence

from loraform_api.verification import Diagnostic, Stage, StageResult

MAX_FINDINGS = 100
"""Findings of one program in one stage that are shown: a policy finds thousands in a file of hostile text."""
MAX_MESSAGE = 2000
"""Characters of a finding's message, which names what it is about: a name in a program may be as long as its file."""


def result(
    stage: Stage, errors: Sequence[Diagnostic], undecided: Sequence[Diagnostic] | Diagnostic | None = None
) -> StageResult:
    """Return a stage's result: passed without findings, inconclusive if there are no errors but undecided checks."""
    unresolved = [undecided] if isinstance(undecided, Diagnostic) else list(undecided or ())
    return StageResult(
        stage=stage,
        passed=not errors and not unresolved,
        inconclusive=bool(unresolved) and not errors,
        diagnostics=[_short(finding) for finding in [*errors, *unresolved][:MAX_FINDINGS]],
    )


def _short(finding: Diagnostic) -> Diagnostic:
    if len(finding.message) <= MAX_MESSAGE:
        return finding
    return finding.model_copy(update={"message": f"{finding.message[: MAX_MESSAGE - 1]}…"})
