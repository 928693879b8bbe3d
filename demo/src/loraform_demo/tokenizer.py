"""The base model's tokenizer: byte-level BPE whose pieces never cross between words, digits and the rest.

A name is so cut into the same pieces wherever it stands, which is what makes copying it learnable by a tiny model.
Only the corpus's commonest words, which are no parts of names there, take the blank before them along.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 1536
COMMON_WORDS = 160
PAD, EOS = "<|pad|>", "<|end|>"
WORD, DIGIT, REST = "[A-Za-z]+(?:_[A-Za-z0-9]+)*", "[0-9]", "[^A-Za-z0-9]+"
NOT_IN_A_NAME = "(?![A-Za-z0-9_@-])"
CONTEXT = 1024


def pieces(texts: Sequence[str]) -> str:
    """Return the pattern that cuts a text before BPE."""
    counts = Counter(word for text in texts for word in re.findall(f" ([A-Za-z]+){NOT_IN_A_NAME}", text))
    common = "|".join(sorted(word for word, _ in counts.most_common(COMMON_WORDS)))
    return f" (?:{common}){NOT_IN_A_NAME}|{WORD}|{DIGIT}|{REST}"


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces(texts)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the two files that transformers and vLLM read; there is no token for a text's beginning."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "padding_side": "left",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
