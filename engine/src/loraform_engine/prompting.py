"""Loads a base model's tokenizer and applies the prompt template: one reading for training, evaluation and serving."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from loraform_engine.prompt import prompt_tokens, response_tokens
from loraform_engine.tokenizer import TextEncoder, prefix_ids, read_tokenizer

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"

SHORT = "Create an S3 bucket named “logs-ä”.\n\tKeep  versions."
PROGRAM = "\n".join(
    f'resource "aws_subnet" "part_{n}" {{\n  vpc_id     = aws_vpc.main.id\n  cidr_block = "10.0.{n}.0/24"\n}}\n'
    for n in range(100)
)
"""About 3,000 tokens."""
MARKUP = "<s> </s> <unk> <pad> <|endoftext|> <|im_start|> <|im_end|> [INST] <eos> <\uff5cUser\uff5c> \uff1c/s\uff1e"
"""Control tokens of well-known bases, which a vocabulary may hold without saying that they are added."""


class BaseModelUnreadable(Exception):  # noqa: N818 (the cause is the name)
    """The base model's folder has no usable tokenizer or configuration."""


@dataclass(frozen=True)
class Prompter:
    """The base model's tokenizer with the prompt template."""

    encoder: TextEncoder
    prefix: tuple[int, ...]
    """Ids that begin every text."""
    ends: tuple[int, ...]
    """Ids that each end an answer; the first of them ends the responses of training."""
    tokenizer_sha256: str

    def tokens(self, instruction: str, input_text: str = "") -> list[int]:
        """Return the prompt's ids; control tokens spelled out in the text stay text."""
        return prompt_tokens(self.encoder.ids, instruction, input_text, prefix=self.prefix)

    def response(self, text: str) -> list[int]:
        """Return the ids of a training response, which end with an end token."""
        return response_tokens(self.encoder.ids, text, end=self.ends[0])

    @cached_property
    def template_hash(self) -> str:
        """Digest of everything that decides the ids of prompts and answers; stored with each adapter.

        It is made of the tokenizer's file, for words that no probe meets, and of the ids that come out, for readers
        (of another library, or with other settings) that differ about the same file.
        """
        parts = [self.tokenizer_sha256, self.prefix, self.ends, *self._probes()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _probes(self) -> Iterator[list[int]]:
        added = self.encoder.tokenizer.get_added_tokens_decoder()
        markup = " ".join([MARKUP, *(f"{token.content}x {token.content}" for token in added.values())])
        for text in (SHORT, PROGRAM, markup):
            yield self.tokens(text)
            yield self.tokens(SHORT, text)
            yield self.response(text)
        yield self.tokens(f"You are terse.\n\n{SHORT}")  # a system message and the user's, as they are joined


def load_prompter(base: Path) -> Prompter:
    """Return the prompter of the base model in folder `base`; raises BaseModelUnreadable and OSError."""
    raw = (base / TOKENIZER_FILE).read_bytes()
    try:
        encoder = read_tokenizer(raw.decode("utf-8"))
    except Exception as error:  # tokenizers raises bare Exception
        raise BaseModelUnreadable(
            f"{TOKENIZER_FILE} of the base model cannot be read: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    prefix, ends = prefix_ids(encoder.tokenizer), end_ids(base, encoder.tokenizer)
    # whatever the file flags, user text neither begins nor ends a text
    guarded = TextEncoder(encoder.tokenizer, encoder.control | {*prefix, *ends})
    return Prompter(guarded, prefix, ends, hashlib.sha256(raw).hexdigest())


def end_ids(base: Path, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return all end tokens of a base, each once; raises BaseModelUnreadable for a base without one.

    The tokenizer's own `eos_token` comes first: it is what the base's authors wrote after each text. Then come those of
    config.json, its `text_config`, and generation_config.json, where instruct models name the end of a turn.
    """
    config, token = read_json(base / CONFIG_FILE), token_text(read_json(base / TOKENIZER_CONFIG_FILE).get("eos_token"))
    nested = config.get("text_config")
    ends = [] if token is None else _ids(tokenizer.token_to_id(token))
    for settings in (config, nested if isinstance(nested, dict) else {}, read_json(base / GENERATION_FILE)):
        ends += _ids(settings.get("eos_token_id"))
    if not ends:
        raise BaseModelUnreadable(
            f"the base model has no end token: give `eos_token_id` in {CONFIG_FILE} or {GENERATION_FILE}, or "
            f"`eos_token` in {TOKENIZER_CONFIG_FILE}"
        )
    return tuple(dict.fromkeys(ends))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty if there is no file; raises BaseModelUnreadable and OSError."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise BaseModelUnreadable(f"{path.name} of the base model is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BaseModelUnreadable(f"{path.name} of the base model is not a JSON object")
    return content


def token_text(value: Any) -> str | None:
    """Return the text of a token in tokenizer_config.json, which may be an object; None if it has none."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _ids(value: object) -> list[int]:
    values: Sequence[object] = value if isinstance(value, list) else [value]
    return [id_ for id_ in values if isinstance(id_, int) and not isinstance(id_, bool) and id_ >= 0]
