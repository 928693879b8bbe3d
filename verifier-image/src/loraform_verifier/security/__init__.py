"""The rules of the Security stage, in Rego over the plan, as a pack in conftest's convention.

A rule of severity CRITICAL fills `deny` and so fails the stage; the others fill `warn` and are reported. Each names
the rules of Checkov and Trivy that it is modelled on.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

RULES = Path(__file__).parent / "rules"


@cache
def rules() -> tuple[str, ...]:
    """Return the modules of the pack, to be compiled together."""
    return tuple(path.read_text() for path in sorted(RULES.glob("*.rego")))
