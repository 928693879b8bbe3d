"""HTML that cannot be broken out of: whatever is not markup is escaped, and shown when it would not be seen. Pure."""

from __future__ import annotations

import re
import unicodedata
from html import escape

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of characters that show nothing, or reorder what is beside them."""
_UNUSUAL = re.compile(r"[^\x20-\x7e\n\t]")


class Markup(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


Part = Markup | str | int


def visible(text: str) -> str:
    """Return the text with its unseen characters spelt out, for example `⟨U+202E⟩`; new lines and tabs stay."""
    return _UNUSUAL.sub(_spelt, text.replace("\r\n", "\n"))


def _spelt(found: re.Match[str]) -> str:
    character = found[0]
    return f"⟨U+{ord(character):04X}⟩" if unicodedata.category(character) in UNSEEN else character


def text(value: Part) -> Markup:
    """Return what shows `value`, whatever it is; markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(escape(visible(str(value))))


def join(*parts: Part) -> Markup:
    return Markup("".join(text(part) for part in parts))


def number_of(count: int, thing: str) -> str:
    """Return for example `1 row` and `2 rows`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def tag(element: str, *children: Part, **attributes: str | float) -> Markup:
    """Return an element. In attribute names `_` stands for `-`, and one at the end is dropped (`class_`)."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(visible(str(value)))}"' for name, value in attributes.items()
    )
    return Markup(f"<{element}{written}>{join(*children)}</{element}>")
