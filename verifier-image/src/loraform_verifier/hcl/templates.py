"""Detection of templates that the grammar and Terraform could parse differently, which would hide code from one.

The grammar's scanner keeps the end markers of open heredocs in a small buffer and compares them byte by byte. Its
errors were found by comparing its trees with those of Terraform's parser (github.com/hashicorp/hcl) on millions of
programs (tests/long). Such programs are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.tree import Nodes, children, line_of, text_of

MAX_MARKER = 64
"""Bytes of an end marker; the scanner loses its state at 128."""
MAX_NESTED = 10
"""Levels of templates; the scanner keeps at most 1,024 bytes of state."""


def ambiguities(source: bytes, parser_source: bytes, nodes: Nodes) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each ambiguous template. The grammar parsed `parser_source`."""
    for heredoc in nodes.of("heredoc_template"):
        if reason := _ambiguity(source, parser_source, heredoc):
            yield Diagnostic(code="AmbiguousHeredoc", message=reason, line=line_of(heredoc), hint="Use <<EOT and EOT.")
    for template in nodes.nested(MAX_NESTED, "heredoc_template", "quoted_template"):
        message = f"Templates nest deeper than {MAX_NESTED} levels."
        hint = "Split the expression with local values."
        yield Diagnostic(code="NestingTooDeep", message=message, line=line_of(template), hint=hint)


def _ambiguity(source: bytes, parser_source: bytes, heredoc: Node) -> str:
    """Return what is ambiguous in a heredoc; empty if nothing is."""
    first, *_, last = children(heredoc, "heredoc_identifier")
    parsed_marker = parser_source[first.start_byte : first.end_byte]
    if not parsed_marker.isascii() or len(parsed_marker) > MAX_MARKER:
        return f"The heredoc's end marker must be a plain name of at most {MAX_MARKER} bytes."
    if source[first.end_byte : first.end_byte + 2].removeprefix(b"\r")[:1] != b"\n":
        return "The heredoc's end marker must be the last text on its line."
    marker = text_of(first)
    if text_of(last) != marker:
        return "The heredoc ends with text that differs from its end marker."
    # Terraform trims all Unicode space around an end marker; the scanner ignores what follows one on its line.
    suspect = re.compile(rf"\s*{re.escape(marker)}\s*(?!\w|\s)")
    if any(suspect.match(line) for line in text_of(heredoc).strip().split("\n")[1:-1]):
        return "A line inside the heredoc can be read as its end marker."
    return ""
