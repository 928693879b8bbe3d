"""Typographic characters: blamed only where they are to blame."""

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
def test_damage_says_which_character(plain: str, typographic: str, name: str) -> None:
    found = damage(GOOD.replace(plain, typographic))
    assert found is not None
    assert name in found


def test_a_broken_program_without_such_characters_has_another_fault() -> None:
    assert damage(GOOD.removesuffix("}\n")) is None


def test_a_program_that_is_also_broken_otherwise_has_another_fault() -> None:
    assert damage(GOOD.replace('"', "\u201c").removesuffix("}\n")) is None


def test_quotes_inside_a_string_are_right_and_not_what_breaks_it() -> None:
    text = GOOD.replace("\n  ", "\n\u00a0 ").replace("10.0.0.0/16", "the \u201cbest\u201d")
    found = damage(text)
    assert found is not None
    assert "no-break space" in found
    assert "quotation" not in found
