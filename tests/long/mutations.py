"""Damages a program's text: bytes and tokens inserted, deleted, doubled, swapped, cut off, and two programs spliced."""

from __future__ import annotations

import re
from random import Random

_TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)
SHARP = (
    *(
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        '"',
        "${",
        "%{",
        "<<E\n",
        "\nE\n",
        "<<-E\n",
        "/*",
        "*/",
        "#",
        "//",
        "=",
        ",",
        ".",
        "...",
    ),
    *(
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\f",
        "\v",
        "\x00",
        "\ufeff",
        "\u2028",
        "\u0085",
        "\u00a0",
        "\ud800",
        "\udfff",
        "\U0010ffff",
    ),
    *(
        "\\",
        "\\u",
        "\\U",
        "\\uD800",
        "~}",
        "=>",
        "?",
        ":",
        "::",
        "for ",
        " in ",
        "if",
        "null",
        "tags = ",
        "tags = null\n",
    ),
    *(
        'resource "aws_vpc" "z" {\n',
        "# by PiCloud\n",
        "1e",
        "0x1",
        ".5",
        "1.",
        "--",
        "!",
        "&&",
        "\x7f",
        "\x1b",
        "'",
        "`",
        "@",
        ";",
    ),
)


def mutated(random: Random, text: str, other: str) -> str:
    """Return `text` after one to four damages; `other` is a program to splice with."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        text = _DAMAGES[random.randrange(len(_DAMAGES))](random, text, other)
    return text


def _place(random: Random, text: str) -> int:
    return random.randint(0, len(text))


def _span(random: Random, text: str) -> tuple[int, int]:
    start = _place(random, text)
    return start, min(len(text), start + random.choice((1, 1, 2, 5, 20, 80)))


def _insert(random: Random, text: str, other: str) -> str:
    at = _place(random, text)
    return text[:at] + random.choice(SHARP) + text[at:]


def _delete(random: Random, text: str, other: str) -> str:
    start, end = _span(random, text)
    return text[:start] + text[end:]


def _double(random: Random, text: str, other: str) -> str:
    start, end = _span(random, text)
    return text[:end] + text[start:end] * random.choice((1, 1, 2, 30)) + text[end:]


def _cut_off(random: Random, text: str, other: str) -> str:
    return text[: _place(random, text)]


def _splice(random: Random, text: str, other: str) -> str:
    return text[: _place(random, text)] + other[_place(random, other) :]


def _bytes(random: Random, text: str, other: str) -> str:
    # Bytes that are no UTF-8 come back as lone surrogates, as from a careless reader.
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    at = random.randint(0, len(raw))
    raw[at : at + random.randint(0, 2)] = random.randbytes(random.choice((1, 1, 2, 8)))
    return raw.decode("utf-8", random.choice(("surrogateescape", "replace")))


def _token(random: Random, text: str, other: str) -> str:
    tokens = _TOKEN.findall(text)
    if len(tokens) < 2:
        return text
    first, second = random.randrange(len(tokens)), random.randrange(len(tokens))
    match random.randrange(4):
        case 0:
            del tokens[first]
        case 1:
            tokens.insert(first, tokens[second])
        case 2:
            tokens[first], tokens[second] = tokens[second], tokens[first]
        case _:
            tokens[first] = random.choice(SHARP)
    return "".join(tokens)


_DAMAGES = (_insert, _insert, _delete, _double, _cut_off, _splice, _bytes, _token, _token, _token)
