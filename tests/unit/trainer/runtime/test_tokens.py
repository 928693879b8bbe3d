"""The base model's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..tiny_tokenizer import load_tiny


@pytest.mark.parametrize("bos", [True, False])
def test_a_maximum_length_of_the_tokenizer_is_ignored(tmp_path: Path, bos: bool) -> None:
    vocabulary = load_tiny(tmp_path, bos)
    text = "one two three four five six seven"
    assert len(vocabulary.response(text)) > 10
    assert vocabulary.tokenizer.decode(vocabulary.response(text)[:-1]).replace("Ġ", " ").count("e") == text.count("e")
