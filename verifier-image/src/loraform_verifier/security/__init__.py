"""The rules of the Security stage: a pack of Rego rules over the plan, in conftest's convention.

Rules of severity CRITICAL are `deny` rules and fail the stage; all others are `warn` rules and are only reported. Each
rule names the rules of Checkov and Trivy that it is modelled on.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

RULES = Path(__file__).parent / "rules"


@cache
def rules() -> tuple[str, ...]:
    """Return the Rego modules of the pack, which are compiled together."""
    return tuple(path.read_text() for path in sorted(RULES.glob("*.rego")))
