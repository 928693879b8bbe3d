"""Small tokenizers of the kinds that bases have, in folders as of base models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    'resource "aws_vpc" "main" {\n  cidr_block = "10.0.0.0/16"\n  tags = { Name = "main" }\n}\n',
    "### Instruction:\nCreate an S3 bucket named logs with versioning.\n\n### Input:\n\n### Response:\n",
    "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 <>/|_[]{}()#:=\"'.,-\n",
] * 4
UNFLAGGED = ["<|user|>", "[TOOL]"]
"""Control tokens that the file does not flag as special."""
INDENT = "    "
"""White space that a base has as one token."""


def byte_level() -> Tokenizer:
    """Return a byte-level BPE, which begins no text with a token: `<|pad|>` 0, `<|end|>` 1."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|pad|>", "<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _with_added(tokenizer)


def metaspace() -> Tokenizer:
    """Return a Unigram as of SentencePiece: a space before each text, `<s>` 0 begins texts, `</s>` 1 ends them."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return _with_added(tokenizer)


def truncating() -> Tokenizer:
    """Return the byte-level BPE with settings that cut texts to 160 tokens and fill them up."""
    tokenizer = byte_level()
    tokenizer.enable_truncation(160)
    tokenizer.enable_padding(length=200, pad_id=0, pad_token="<|pad|>")
    return tokenizer


def _with_added(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in (*UNFLAGGED, INDENT)])
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "metaspace": metaspace,
    "truncating": truncating,
}


def write_base(folder: Path, tokenizer: Tokenizer, **files: Any) -> Path:
    """Write a base model's folder without weights; `files` are contents by name without `.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in {"config": {"eos_token_id": 1}, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder
