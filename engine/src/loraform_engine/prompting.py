"""Turns an instruction and its input into token ids with the base model's tokenizer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from loraform_engine.prompt import Encode, prompt_tokens, special_ids, template_hash

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "config.json"


class BaseModelUnreadable(Exception):  # noqa: N818 (the cause is the name)
    """The base model's folder has no usable tokenizer or configuration."""


@dataclass(frozen=True)
class Prompter:
    """The base model's tokenizer with the prompt template."""

    encode: Encode
    bos: int | None
    eos: int
    template_hash: str

    def tokens(self, instruction: str, input_text: str = "") -> list[int]:
        """Return the prompt's ids; special tokens spelled out in the text stay text."""
        return prompt_tokens(self.encode, instruction, input_text, bos=self.bos)


def load_prompter(base: Path) -> Prompter:
    """Return the prompter of the base model in folder `base`; raises BaseModelUnreadable."""
    try:
        raw = (base / TOKENIZER_FILE).read_bytes()
        tokenizer = Tokenizer.from_str(raw.decode("utf-8"))
        config = json.loads((base / CONFIG_FILE).read_bytes())
        bos, eos = special_ids(config, tokenizer.encode("", add_special_tokens=True).ids)
    except OSError as error:
        raise BaseModelUnreadable(f"{error.filename}: {error.strerror}") from error
    except Exception as error:  # tokenizers raises bare Exception
        raise BaseModelUnreadable(f"{base}: {type(error).__name__}: {str(error)[:200]}") from error
    tokenizer.encode_special_tokens = True
    return Prompter(
        encode=partial(_encode, tokenizer),
        bos=bos,
        eos=eos,
        template_hash=template_hash(hashlib.sha256(raw).hexdigest(), bos, eos),
    )


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids
