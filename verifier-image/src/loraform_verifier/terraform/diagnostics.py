"""Conversion of terraform's JSON diagnostics into Diagnostic: a stable code, a message, a hint, a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from loraform_api.verification import Diagnostic

MAX_MESSAGE = 1000
MAX_PER_PROGRAM = 20
MAX_HEAD, MAX_TAIL = 3000, 1000
"""Characters that are kept of a text of terraform, from its start and from its end. A program can make it megabytes
long, and the regular expressions below would take too long on it."""
_PLAIN_SUMMARY = re.compile(r"^[A-Z][A-Za-z_-]*(?: [A-Za-z_-]+){0,7}$")
_QUOTED = re.compile(r' ?"[^"]*"')
_OUR_PATHS = re.compile(r"\bmodule\.r\d+(?:\[\*\])?\.|\br\d+/(?=[\w./-]{1,200}\.tf\b)")
_OUR_MODULE = re.compile(r"\bin module\.r\d+\.(?=\s|$)")
"""How terraform names a program's module in a batch."""
_OUR_FOLDER = re.compile(r"/[\w./-]{0,100}/lf-\w+(?:/r\d+)?")
_MIRRORED = re.compile(r"(?:^|/)\.mirrored/")
OUR_FILE = "loraform.tf.json"
_RULE = re.compile(r"\bvalidation rule at ([\w./-]{1,200}\.tf):(\d{1,6}),")
"""Position of the validation rule that a variable's value breaks; the verifier sets that value."""
_SUGGESTION = re.compile(r"Did you mean [^?]{1,300}\?")


def errors_of(diagnostics: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors among terraform's diagnostics, with their texts shortened."""
    return [
        d | {name: _shortened(str(d[name])) for name in ("summary", "detail") if name in d}
        for d in diagnostics
        if d.get("severity") == "error"
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_HEAD + MAX_TAIL else f"{text[:MAX_HEAD]} … {text[-MAX_TAIL:]}"


def diagnostic_of(error: dict[str, Any], folder: str = "") -> Diagnostic:
    """Convert one terraform diagnostic; `folder` holds the program, empty for the root."""
    summary, detail = str(error.get("summary", "")), str(error.get("detail", ""))
    suggestion = _SUGGESTION.search(detail)
    position = error.get("range") or {}
    file = str(position.get("filename", "")).removeprefix(f"{folder}/") or None
    if file is None or file.endswith(OUR_FILE) or _MIRRORED.search(file):
        file, position = None, {}
    message = " ".join((f"{summary}: {detail}" if detail else summary).split())
    message = _OUR_PATHS.sub("", _OUR_MODULE.sub("in the root module.", message))
    message = _OUR_FOLDER.sub(".", message)
    line = (position.get("start") or {}).get("line")
    if file is None and (rule := _RULE.search(message)):
        file, line = rule[1], int(rule[2])
    return Diagnostic(
        code=code_of(summary),
        message=message[:MAX_MESSAGE],
        line=line,
        hint=suggestion[0] if suggestion else None,
        file=file,
    )


def code_of(summary: str) -> str:
    """Return a summary as a CamelCase code; InvalidValue for a provider's summary that may quote the program."""
    text = _QUOTED.sub("", " ".join(summary.partition(":")[0].split()))
    if not _PLAIN_SUMMARY.match(text):
        return "InvalidValue"
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[ _-]", text))
