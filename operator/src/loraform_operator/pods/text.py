"""Sanitises text from outside for status and events. Pure."""

from __future__ import annotations

import re

MESSAGE_LIMIT = 1000
"""Characters that sanitised text may have."""
SECRETS = re.compile(
    r"(?P<keep>\b(?:bearer|basic)\s+|(?:password|passwd|secret|token|api[_-]?key)['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&]+"
    r"|(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@"
    r"|\b(?:hf_[A-Za-z0-9]{10,}|gh[a-z]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|eyJ[\w-]{10,}\.[\w-]+\.[\w-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """Return `text` as one printable line of limited length, with anything that looks like a secret redacted."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = SECRETS.sub(lambda m: (m["keep"] or m["scheme"] or "") + "[redacted]", line)
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"
