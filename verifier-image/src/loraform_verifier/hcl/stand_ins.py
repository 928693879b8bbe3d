"""What Terraform reads and tree-sitter's grammar cannot, dressed as something of equal size that it can.

Only letters, digits and signs of one number or one name are exchanged, for digits or letters: nothing begins or ends
elsewhere, whether it stands in code, in a string or in a comment.
"""

from __future__ import annotations

import re
from string import ascii_letters

MAX_MARKERS = 20
"""Different end markers beyond ASCII in one file; each costs a pass over the text."""
MAX_MARKER = 64
_EXPONENT = re.compile(r"(?<![\w.])[0-9]+[eE][+-]?[0-9]+(?!\w|\.(?!\.\.))")
_WORD = r"[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff-]*"
"""At least what Terraform takes for a name, in which `1e-3` is no number: `a-1e-3`."""
_WORD_OR_EXPONENT = re.compile(f"{_WORD}|{_EXPONENT.pattern}")
_MARKER = re.compile(rf"<<-?([A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff-]{{0,{MAX_MARKER - 1}}})\r?\n")


def disguised(text: str) -> str:
    """Return a program for the grammar's eyes: as many bytes, and every line and token where it was."""
    return _whole_exponents(_plain_markers(text))


def _whole_exponents(text: str) -> str:
    """Write `1e3`, which the grammar knows with a fraction only, as `103`."""
    if not _EXPONENT.search(text):
        return text
    return _WORD_OR_EXPONENT.sub(lambda m: re.sub(r"\D", "0", m[0]) if "0" <= m[0][0] <= "9" else m[0], text)


def _plain_markers(text: str) -> str:
    """Write heredoc markers beyond ASCII with one letter that occurs nowhere else so often."""
    for marker in [*dict.fromkeys(m for m in _MARKER.findall(text) if _is_foreign(m))][:MAX_MARKERS]:
        size = len(marker.encode())
        free = next((letter for letter in ascii_letters if letter * size not in text), None)
        if free is not None:
            places = rf"(?m)(<<-?|^[ \t]*){re.escape(marker)}(?=[ \t\r]*$)"
            text = re.sub(places, rf"\g<1>{free * size}", text)
    return text


def _is_foreign(marker: str) -> bool:
    return not marker.isascii() and marker.replace("-", "_").isidentifier()
