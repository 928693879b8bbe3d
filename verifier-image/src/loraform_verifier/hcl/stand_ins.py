"""Same-length stand-ins for HCL that Terraform accepts and tree-sitter's grammar cannot parse, so that offsets hold.

Only characters within one number or one name are replaced, by digits or letters. So no token begins or ends elsewhere,
in code, strings or comments.
"""

from __future__ import annotations

import re
from string import ascii_letters

MAX_MARKERS = 20
"""Non-ASCII end markers in one file; each costs a pass over the text."""
MAX_MARKER = 64
_EXPONENT = re.compile(r"(?<![\w.])[0-9]+[eE][+-]?[0-9]+(?!\w|\.(?!\.\.))")
_WORD = r"[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff-]*"
"""A superset of Terraform's identifiers: in `a-1e-3` the `1e-3` is part of a name."""
_WORD_OR_EXPONENT = re.compile(f"{_WORD}|{_EXPONENT.pattern}")
_MARKER = re.compile(rf"<<-?([A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff-]{{0,{MAX_MARKER - 1}}})\r?\n")


def with_stand_ins(text: str) -> str:
    """Return the text for the parser: same length in bytes, with every line and token at its offset."""
    return _replace_exponents(_replace_markers(text))


def _replace_exponents(text: str) -> str:
    """Replace `1e3` by `103`: the grammar accepts exponents only after a fraction."""
    if not _EXPONENT.search(text):
        return text
    return _WORD_OR_EXPONENT.sub(lambda m: re.sub(r"\D", "0", m[0]) if "0" <= m[0][0] <= "9" else m[0], text)


def _replace_markers(text: str) -> str:
    """Replace each non-ASCII heredoc marker by a run of one ASCII letter that the text does not contain."""
    for marker in [*dict.fromkeys(m for m in _MARKER.findall(text) if _is_non_ascii_name(m))][:MAX_MARKERS]:
        size = len(marker.encode())
        free = next((letter for letter in ascii_letters if letter * size not in text), None)
        if free is not None:
            pattern = rf"(?m)(<<-?|^[ \t]*){re.escape(marker)}(?=[ \t\r]*$)"
            text = re.sub(pattern, rf"\g<1>{free * size}", text)
    return text


def _is_non_ascii_name(marker: str) -> bool:
    return not marker.isascii() and marker.replace("-", "_").isidentifier()
