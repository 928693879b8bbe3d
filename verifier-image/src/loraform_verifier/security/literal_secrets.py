"""Finds secrets that stand in a text as literals: rows of a data set, and answers before they are served.

A finding names the kind of secret and its place, never the secret itself. A placeholder ("changeme") is none, and
neither is a value that the caller's own prompt contains. docs/verifier.md says what is found and what is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from loraform_api.verification import Diagnostic
from loraform_verifier.security import secret_patterns as patterns
from loraform_verifier.security.placeholders import is_placeholder

CODE = "LiteralSecret"
HINT = (
    "Refer to a variable marked sensitive, to a secret store or to a generated password. "
    'A value of the prompt and a placeholder such as "changeme" are allowed.'
)
MAX_FINDINGS = 10
"""Findings of one file."""
MAX_VARIABLE = 2000
"""Characters of a variable block that are searched."""
_GROUPS = ("double", "escaped", "single", "heredoc", "bare")
_LETTER_AND_DIGIT = re.compile(r"\d.*[^\W\d]|[^\W\d].*\d")


@dataclass(frozen=True, slots=True)
class LiteralSecret:
    """A secret, as the span of its value in the text."""

    kind: str
    """What it is, for example `a GitHub token` or `a literal value of master_password`."""
    start: int
    end: int


def find_secrets(text: str, prompt: str = "") -> list[LiteralSecret]:
    """Return the secrets of a text in their order, without overlaps; values that `prompt` contains are none."""
    secrets: list[LiteralSecret] = []
    end = -1
    for secret in sorted(_candidates(text), key=lambda secret: (secret.start, -secret.end)):
        if secret.start >= end and not _is_asked(text[secret.start : secret.end], prompt):
            secrets.append(secret)
            end = secret.end
    return secrets


def secret_diagnostics(text: str, prompt: str) -> list[Diagnostic]:
    """Return a diagnostic for each line with a secret that `prompt` does not contain, at most `MAX_FINDINGS`."""
    kinds: dict[int, str] = {}
    line, position = 1, 0
    for secret in find_secrets(text, prompt):
        line, position = line + text.count("\n", position, secret.start), secret.start
        kinds.setdefault(line, secret.kind)
    return [
        Diagnostic(code=CODE, message=f"A secret stands in the program: {kind}.", line=line, hint=HINT)
        for line, kind in list(kinds.items())[:MAX_FINDINGS]
    ]


def without_secrets(text: str) -> str:
    """Return `text` with `…` for each secret."""
    kept, position = [], 0
    for secret in find_secrets(text):
        kept += [text[position : secret.start], "…"]
        position = secret.end
    return "".join([*kept, text[position:]])


def _candidates(text: str) -> Iterator[LiteralSecret]:
    lowered = text.lower()
    for kind, hints, pattern in patterns.TOKENS:
        if any(hint in lowered for hint in hints):
            for match in pattern.finditer(text):
                if not is_placeholder(match["value"]):
                    yield LiteralSecret(kind, *match.span("value"))
    if any(hint in lowered for hint in patterns.SENSITIVE_HINTS):
        for name, match in _literals(text, secure_strings="securestring" in lowered):
            group = next(group for group, value in match.groupdict().items() if value and group in _GROUPS)
            if _may_be_secret(match[group], quoted=group != "bare"):
                yield LiteralSecret(f"a literal value of {name}", *match.span(group))


def _literals(text: str, *, secure_strings: bool) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the literals under a sensitive name, each with the name."""
    for pattern in patterns.ASSIGNMENTS:
        yield from ((m["name"], m) for m in pattern.finditer(text) if patterns.is_sensitive(m["name"]))
    for head in patterns.VARIABLE.finditer(text):
        end = _block_end(text, head.end())
        default = patterns.DEFAULT.search(text, head.end(), end)
        if default and (patterns.is_sensitive(head["name"]) or patterns.MARKED_SENSITIVE.search(text, head.end(), end)):
            yield head["name"], default
    for pattern in patterns.SECURE_STRINGS if secure_strings else ():
        yield from ((m["name"], m) for m in pattern.finditer(text))


def _block_end(text: str, start: int) -> int:
    """Return where a block of one line, or a formatted one, ends; at most `MAX_VARIABLE` characters after its start."""
    limit = min(len(text), start + MAX_VARIABLE)
    line = text.find("\n", start, limit)
    if "}" in text[start:line]:
        return line if line >= 0 else limit
    end = text.find("\n}", start, limit)
    return end if end >= 0 else limit


def _may_be_secret(value: str, *, quoted: bool) -> bool:
    if patterns.is_decided_elsewhere(value) or is_placeholder(value):
        return False
    return quoted or _LETTER_AND_DIGIT.search(value) is not None


def _is_asked(value: str, prompt: str) -> bool:
    """Return whether `prompt` contains a value exactly, and not only as a part of a longer word."""
    plain = value.replace('\\"', '"').replace("\\\\", "\\").replace("$${", "${")
    return any(_holds_word(prompt, word) for word in {value, plain})


def _holds_word(text: str, word: str) -> bool:
    start = text.find(word)  # many times as fast as a regular expression
    while start >= 0:
        around = text[max(0, start - 1) : start], text[start + len(word) : start + len(word) + 1]
        if not any(character.isalnum() or character == "_" for character in around):
            return True
        start = text.find(word, start + 1)
    return False
