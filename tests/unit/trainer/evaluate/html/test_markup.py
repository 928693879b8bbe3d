"""Escaping of text in markup."""

from __future__ import annotations

import pytest

from loraform_trainer.evaluate.html.markup import Markup, join, tag, text, visible


def test_text_is_escaped_in_elements_and_in_attributes() -> None:
    assert tag("p", "<b>&\"'") == "<p>&lt;b&gt;&amp;&quot;&#x27;</p>"
    assert tag("a", "x", title='"><script>') == '<a title="&quot;&gt;&lt;script&gt;">x</a>'


def test_markup_is_not_escaped_twice() -> None:
    inner = tag("code", "<")
    assert tag("p", inner, " & ", 3) == "<p><code>&lt;</code> &amp; 3</p>"
    assert isinstance(join(inner, "<"), Markup)


def test_markup_concatenated_with_text_is_escaped() -> None:
    """Nothing but this module makes markup: a plain sum of strings is escaped."""
    assert text(tag("b", "x") + "<i>") == "&lt;b&gt;x&lt;/b&gt;&lt;i&gt;"


def test_underscores_in_attribute_names() -> None:
    assert tag("svg", class_="a", aria_label="b", viewBox="0 0 1 1") == (
        '<svg class="a" aria-label="b" viewBox="0 0 1 1"></svg>'
    )


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("\x00\x1b[31m", "⟨U+0000⟩⟨U+001B⟩[31m"),
        ("a\u200bb\ufeff", "a⟨U+200B⟩b⟨U+FEFF⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("a\r\nb\rc", "a\nb⟨U+000D⟩c"),
        ("grüße 你好\t\n", "grüße 你好\t\n"),
    ],
)
def test_invisible_characters_are_shown_as_code_points(hidden: str, shown: str) -> None:
    assert visible(hidden) == shown
    visible(hidden).encode()
