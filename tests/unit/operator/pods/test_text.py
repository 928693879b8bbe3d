from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraform_operator.pods.text import MESSAGE_LIMIT, clean


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("two\nlines\tand \x1b[31mcolour", "two lines and [31mcolour"),
        ("https://me:pass@host/x", "https://[redacted]host/x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ("hf_abcdefghijklmnop used", "[redacted] used"),
        ("api_key='s3cret' end", "api_key='[redacted]' end"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        ("x" * 2000, "x" * (MESSAGE_LIMIT - 1) + "…"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_clean_is_always_one_short_printable_line(text: str) -> None:
    line = clean(text)
    assert line.isprintable()
    assert len(line) <= MESSAGE_LIMIT
