"""Finds templates that the grammar and Terraform could read differently; code would then be text to one of them.

The grammar's own scanner keeps the end markers of open heredocs in a small memory, and compares them byte by byte. What
it gets wrong was found by comparing its trees with those of Terraform's reader (github.com/hashicorp/hcl) on millions
of programs (tests/long); such a program is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.tree import Nodes, children, line_of, text_of

MAX_MARKER = 64
"""Bytes of an end marker; the scanner forgets all that is open when one has 128."""
MAX_NESTED = 10
"""Templates in templates; the scanner remembers at most 1,024 bytes of what is open."""


def ambiguities(source: bytes, shown: bytes, nodes: Nodes) -> Iterator[Diagnostic]:
    """Yield the templates of a program that two readers could take for two things; the grammar saw it as `shown`."""
    for heredoc in nodes.of("heredoc_template"):
        if reason := _misread(source, shown, heredoc):
            yield Diagnostic(code="AmbiguousHeredoc", message=reason, line=line_of(heredoc), hint="Use <<EOT and EOT.")
    for template in nodes.nested(MAX_NESTED, "heredoc_template", "quoted_template"):
        message = f"Templates nest deeper than {MAX_NESTED} levels."
        hint = "Split the expression with local values."
        yield Diagnostic(code="NestingTooDeep", message=message, line=line_of(template), hint=hint)


def _misread(source: bytes, shown: bytes, heredoc: Node) -> str:
    """Say what is ambiguous in a heredoc; empty when nothing is."""
    first, *_, last = children(heredoc, "heredoc_identifier")
    seen = shown[first.start_byte : first.end_byte]
    if not seen.isascii() or len(seen) > MAX_MARKER:
        return f"The heredoc's end marker may have {MAX_MARKER} bytes and must be a plain name."
    if source[first.end_byte : first.end_byte + 2].removeprefix(b"\r")[:1] != b"\n":
        return "The heredoc's end marker must end its line."
    marker = text_of(first)
    if text_of(last) != marker:
        return "The heredoc ends in what is not its end marker."
    # Terraform trims all Unicode space around an end marker; the scanner passes over what follows one on its line.
    suspect = re.compile(rf"\s*{re.escape(marker)}\s*(?!\w|\s)")
    if any(suspect.match(line) for line in text_of(heredoc).strip().split("\n")[1:-1]):
        return "A line inside the heredoc reads as its end marker."
    return ""
