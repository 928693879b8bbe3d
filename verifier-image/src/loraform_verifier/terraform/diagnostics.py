"""Turns the JSON diagnostics of terraform into ours: a stable class, a message, a hint, a line of the program."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from loraform_api.verification import Diagnostic

MAX_MESSAGE = 1000
MAX_PER_PROGRAM = 20
MAX_TOLD, MAX_END = 3000, 1000
"""Characters of a text of terraform's that are read: of its beginning and of its end. A program can make it megabytes
long, and what is looked for in it takes the longer by far."""
_PLAIN_SUMMARY = re.compile(r"^[A-Z][A-Za-z_-]*(?: [A-Za-z_-]+){0,7}$")
_QUOTED = re.compile(r' ?"[^"]*"')
_OUR_PLACES = re.compile(r"\bmodule\.r\d+(?:\[\*\])?\.|\br\d+/(?=[\w./-]{1,200}\.tf\b)")
_OUR_MODULE = re.compile(r"\bin module\.r\d+\.(?=\s|$)")
"""The program, in terraform's words, where it is judged in company."""
_OUR_FOLDER = re.compile(r"/[\w./-]{0,100}/lf-\w+(?:/r\d+)?")
_MIRRORED = re.compile(r"(?:^|/)\.mirrored/")
OUR_FILE = "loraform.tf.json"
_RULE = re.compile(r"\bvalidation rule at ([\w./-]{1,200}\.tf):(\d{1,6}),")
"""Where a variable is refused whose value we hand in."""
_SUGGESTION = re.compile(r"Did you mean [^?]{1,300}\?")


def errors_of(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors among terraform's diagnostics, with no more of their texts than is read."""
    return [
        d | {name: _shortened(str(d[name])) for name in ("summary", "detail") if name in d}
        for d in found
        if d.get("severity") == "error"
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TOLD + MAX_END else f"{text[:MAX_TOLD]} … {text[-MAX_END:]}"


def diagnostic_of(found: dict[str, Any], folder: str = "") -> Diagnostic:
    """Return our form of one terraform diagnostic; `folder` is where the program lay, empty for the root."""
    summary, detail = str(found.get("summary", "")), str(found.get("detail", ""))
    suggestion = _SUGGESTION.search(detail)
    place = found.get("range") or {}
    file = str(place.get("filename", "")).removeprefix(f"{folder}/") or None
    if file is None or file.endswith(OUR_FILE) or _MIRRORED.search(file):
        file, place = None, {}
    message = " ".join((f"{summary}: {detail}" if detail else summary).split())
    message = _OUR_PLACES.sub("", _OUR_MODULE.sub("in the root module.", message))
    message = _OUR_FOLDER.sub(".", message)
    line = (place.get("start") or {}).get("line")
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
    """Return a CamelCase class: terraform's own summaries are fixed words, a provider's may quote the program."""
    words = _QUOTED.sub("", " ".join(summary.partition(":")[0].split()))
    if not _PLAIN_SUMMARY.match(words):
        return "InvalidValue"
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[ _-]", words))
