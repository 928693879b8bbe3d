"""A small byte-level tokenizer in the folder of a base model."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.tokens import BaseTokens


def load_tiny(folder: Path, bos: bool) -> BaseTokens:
    """Write a tokenizer that truncates to five tokens, and load it; `bos` is whether prompts begin with a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|pad|>", "<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(['resource "aws_vpc" "main" {\n  cidr_block = "10.0.0.0/16"\n}\n'] * 4, trainer)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    loaded = tokens.load(folder)
    return BaseTokens(loaded.tokenizer, 0 if bos else None, loaded.eos, loaded.tokenizer_sha256)
