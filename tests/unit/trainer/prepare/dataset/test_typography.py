"""Typographic characters that make a program unparsable."""

from __future__ import annotations

import pytest

from loraform_trainer.prepare.dataset.typography import damage

GOOD = 'resource "aws_vpc" "a" {\n  cidr_block = "10.0.0.0/16"\n}\n'


@pytest.mark.parametrize(
    ("plain", "typographic", "name"),
    [
        ('"', "\u201d", "right double quotation mark (U+201D)"),
        (" ", "\u00a0", "no-break space (U+00A0)"),
        ("\n  ", "\n\u200b  ", "zero width space (U+200B)"),
        ("\n  ", "\u2028  ", "line separator (U+2028)"),
        ('"10.0.0.0/16"', "\u20131", "en dash (U+2013)"),
    ],
)
def test_damage_names_the_character(plain: str, typographic: str, name: str) -> None:
    reason = damage(GOOD.replace(plain, typographic))
    assert reason is not None
    assert name in reason


def test_another_syntax_error_is_not_damage() -> None:
    assert damage(GOOD.removesuffix("}\n")) is None


def test_damage_with_another_syntax_error_is_not_reported() -> None:
    assert damage(GOOD.replace('"', "\u201c").removesuffix("}\n")) is None


def test_typographic_quotes_inside_a_string_are_not_damage() -> None:
    text = GOOD.replace("\n  ", "\n\u00a0 ").replace("10.0.0.0/16", "the \u201cbest\u201d")
    reason = damage(text)
    assert reason is not None
    assert "no-break space" in reason
    assert "quotation" not in reason
