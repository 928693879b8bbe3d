"""Builds HTML in which all text is escaped and invisible characters are shown. Pure."""

from __future__ import annotations

import re
import unicodedata
from html import escape

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of characters that are invisible or reorder their neighbours."""
_UNUSUAL = re.compile(r"[^\x20-\x7e\n\t]")


class Markup(str):
    """Text that is HTML already. Only this module creates it."""

    __slots__ = ()


Part = Markup | str | int


def visible(text: str) -> str:
    """Return the text with invisible characters as code points, for example `⟨U+202E⟩`; new lines and tabs stay."""
    return _UNUSUAL.sub(_code_point, text.replace("\r\n", "\n"))


def _code_point(match: re.Match[str]) -> str:
    character = match[0]
    return f"⟨U+{ord(character):04X}⟩" if unicodedata.category(character) in INVISIBLE else character


def text(value: Part) -> Markup:
    """Return `value` as escaped text; markup is returned unchanged."""
    return value if isinstance(value, Markup) else Markup(escape(visible(str(value))))


def join(*parts: Part) -> Markup:
    """Return the parts as one markup; parts that are not markup are escaped."""
    return Markup("".join(text(part) for part in parts))


def number_of(count: int, noun: str) -> str:
    """Return a count with its noun, for example `1 row` and `2 rows`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def tag(element: str, *children: Part, **attributes: str | float) -> Markup:
    """Return an element; in attribute names, `_` becomes `-`, and a final `_` is dropped (`class_`)."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(visible(str(value)))}"' for name, value in attributes.items()
    )
    return Markup(f"<{element}{written}>{join(*children)}</{element}>")
