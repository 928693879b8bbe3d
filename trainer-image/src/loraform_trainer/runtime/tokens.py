"""Encodes prompts and responses with the base model's tokenizer, by the templates of `loraform_engine.prompt`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from loraform_engine.prompt import prompt_tokens, response_tokens, special_ids, template_hash
from loraform_trainer.runtime.errors import BaseModelInvalidError
from loraform_trainer.runtime.files import sha256_file


@dataclass(frozen=True)
class BaseTokens:
    """Token ids of prompts and responses for one base model."""

    tokenizer: Tokenizer
    bos: int | None
    eos: int
    tokenizer_sha256: str

    @cached_property
    def template_hash(self) -> str:
        """Digest of everything that decides the token ids of a prompt."""
        return template_hash(self.tokenizer_sha256, self.bos, self.eos)

    @property
    def stops(self) -> tuple[int, ...]:
        """Ids of the tokens that end an answer."""
        return (self.eos,)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prompt(self, instruction: str, input_text: str) -> list[int]:
        """Return the token ids of a prompt."""
        return prompt_tokens(self._encode, instruction, input_text, bos=self.bos)

    def response(self, text: str) -> list[int]:
        """Return the token ids of a response, with the end-of-text token."""
        return response_tokens(self._encode, text, eos=self.eos)


def load(base: Path) -> BaseTokens:
    """Load the tokenizer of the base model in folder `base`; raises BaseModelInvalidError and OSError."""
    try:
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise BaseModelInvalidError(f"tokenizer.json of the base model cannot be read: {error}") from error
    tokenizer.encode_special_tokens = True  # a user's "<|end|>" is text, never a token
    tokenizer.no_truncation()  # tokenizer.json may set a maximum length
    tokenizer.no_padding()
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    try:
        bos, eos = special_ids(config, tokenizer.encode("", add_special_tokens=True).ids)
    except ValueError as error:
        raise BaseModelInvalidError(f"the base model defines no end-of-text token: {error}") from error
    return BaseTokens(tokenizer, bos, eos, sha256_file(base / "tokenizer.json"))
