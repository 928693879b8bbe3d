"""A small byte-level tokenizer in the folder of a base model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loraform_engine.prompting import Prompter
from loraform_trainer.runtime import tokens

from ...tokenizers_of_bases import truncating, write_base


def load_tiny(folder: Path, bos: bool) -> Prompter:
    """Write a tokenizer whose file cuts texts, and load it; `bos` is whether prompts begin with a token."""
    return replace(tokens.load(write_base(folder, truncating())), prefix=(0,) if bos else ())
