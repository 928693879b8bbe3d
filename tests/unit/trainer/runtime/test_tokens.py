"""The base model's prompter in a stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraform_engine.prompting import load_prompter
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.errors import BaseModelInvalidError

from ....tokenizers_of_bases import byte_level, write_base


def test_a_stage_has_the_prompter_of_the_gateway(tmp_path: Path) -> None:
    assert tokens.load(write_base(tmp_path, byte_level())).template_hash == load_prompter(tmp_path).template_hash


def test_an_unreadable_base_is_the_users_to_mend(tmp_path: Path) -> None:
    write_base(tmp_path, byte_level(), config={})
    with pytest.raises(BaseModelInvalidError, match="the base model has no end token"):
        tokens.load(tmp_path)
