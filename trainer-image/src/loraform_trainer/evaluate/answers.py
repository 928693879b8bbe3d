"""An engine's answer to one prompt of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratedAnswer:
    """An answer of the engine."""

    text: str
    truncated: bool
    """True if the answer reached the token limit before an end of text."""
    tokens: int = 0
    """Tokens of prompt and answer together."""
