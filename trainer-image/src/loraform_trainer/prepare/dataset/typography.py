"""Detects typographic characters, from a word processor or a web page, that make a program unparsable."""

from __future__ import annotations

import unicodedata

from loraform_verifier.hcl.parse import parse

QUOTES = {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u201f": '"', "\u2033": '"', "\u00ab": '"', "\u00bb": '"',
          "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'"}  # fmt: skip
OTHERS = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
    **dict.fromkeys("\u2028\u2029\u0085", "\n"),
    "\u2026": "...",
}
"""Includes the ellipsis, because Terraform's expansion operator is three dots."""
SHOWN = 3
"""Characters that a message names."""


def damage(text: str) -> str | None:
    """Return which typographic characters keep a program from parsing; None when the cause is another one.

    They are the cause if the program parses once they are replaced by plain characters.
    """
    if text.isascii():
        return None
    # Quotes last: inside a string they are allowed, and plain ones would end it.
    for plain in (OTHERS, QUOTES | OTHERS):
        present = [c for c in dict.fromkeys(text) if c in plain]
        if present and not parse(text.translate({ord(c): to for c, to in plain.items()})).problems:
            names = [f"{unicodedata.name(c, 'control character').lower()} (U+{ord(c):04X})" for c in present[:SHOWN]]
            return f"the response parses only without {', '.join(names)} (was it copied from a word processor?)"
    return None
