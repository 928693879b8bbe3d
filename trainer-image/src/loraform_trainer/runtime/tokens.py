"""The base model's tokenizer, used as the prompt contract asks (`loraform_engine.prompt`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from loraform_engine.prompt import prompt_tokens, response_tokens, special_ids, template_hash
from loraform_trainer.runtime.errors import BaseModelInvalidError
from loraform_trainer.runtime.files import sha256_file
from loraform_trainer.runtime.rows import Row


@dataclass(frozen=True)
class BaseTokens:
    """Token ids of prompts and responses for one base model."""

    tokenizer: Tokenizer
    bos: int | None
    eos: int
    tokenizer_sha256: str

    @cached_property
    def template_hash(self) -> str:
        """The digest of everything that decides a prompt's ids."""
        return template_hash(self.tokenizer_sha256, self.bos, self.eos)

    @property
    def stops(self) -> tuple[int, ...]:
        """What ends an answer."""
        return (self.eos,)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prompt(self, instruction: str, input_text: str) -> list[int]:
        return prompt_tokens(self._encode, instruction, input_text, bos=self.bos)

    def response(self, text: str) -> list[int]:
        return response_tokens(self._encode, text, eos=self.eos)

    def batch(self, rows: Sequence[Row]) -> tuple[list[list[int]], list[list[int]]]:
        """Return the ids of all prompts and of all responses, equal to those of `prompt` and `response`.

        The contract is asked twice: for the texts, which are then encoded together, and for their ids.
        """
        texts: dict[str, None] = {}

        def note(text: str) -> list[int]:
            texts[text] = None
            return []

        for row in rows:
            prompt_tokens(note, row.instruction, row.input, bos=self.bos)
            response_tokens(note, row.response, eos=self.eos)
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids: dict[str, list[int]] = {text: one.ids for text, one in zip(texts, encoded, strict=True)}
        prompts = [prompt_tokens(ids.__getitem__, row.instruction, row.input, bos=self.bos) for row in rows]
        return prompts, [response_tokens(ids.__getitem__, row.response, eos=self.eos) for row in rows]


def load(base: Path) -> BaseTokens:
    """Read the tokenizer of a base model's folder; raises BaseModelInvalidError when it is not usable."""
    try:
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise BaseModelInvalidError(f"tokenizer.json of the base model cannot be read: {error}") from error
    tokenizer.encode_special_tokens = True  # a user's "<|end|>" is text, never a token
    tokenizer.no_truncation()  # a tokenizer may bring a length at which it would cut rows
    tokenizer.no_padding()
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    try:
        bos, eos = special_ids(config, tokenizer.encode("", add_special_tokens=True).ids)
    except ValueError as error:
        raise BaseModelInvalidError(f"the base model says no end of text: {error}") from error
    return BaseTokens(tokenizer, bos, eos, sha256_file(base / "tokenizer.json"))
