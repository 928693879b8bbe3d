"""The prompt template `### Instruction: … ### Response: …`, rendered and tokenised.

Training, evaluation and serving all use it. User text is tokenised with special tokens off, so that a user cannot
write an end-of-text token into a prompt. The module needs no tokenizer library: callers pass a function that turns text
into token ids.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Encode = Callable[[str], Sequence[int]]
"""Function from text to token ids, which neither adds special tokens nor recognises them inside the text
(`tokenizers.Tokenizer` with `encode_special_tokens = True` and `encode(text, add_special_tokens=False).ids`)."""

INSTRUCTION_HEADER = "### Instruction:\n"
INPUT_HEADER = "\n\n### Input:\n"
RESPONSE_HEADER = "\n\n### Response:\n"


_FENCED = re.compile(r"\s*```[\w-]*[ \t]*\n(?P<body>.*?)\n?[ \t]*```\s*", re.DOTALL)


def render(instruction: str, input_text: str = "") -> list[str]:
    """Return the prompt as segments, headers and user text apart, each to be tokenised on its own."""
    segments = [INSTRUCTION_HEADER, instruction.strip()]
    if input_text.strip():
        segments += [INPUT_HEADER, input_text.strip()]
    return [*segments, RESPONSE_HEADER]


def prompt_tokens(encode: Encode, instruction: str, input_text: str = "", *, bos: int | None) -> list[int]:
    """Return the prompt's token ids; `bos` is prepended when the base model has one."""
    ids = [] if bos is None else [bos]
    for segment in render(instruction, input_text):
        ids.extend(encode(segment))
    return ids


def response_tokens(encode: Encode, response: str, *, eos: int) -> list[int]:
    """Return the token ids of a training response; `eos` ends them so that the model learns to stop."""
    return [*encode(response.strip() + "\n"), eos]


def unfenced(answer: str) -> str:
    """Return the program in a model's answer: the content of a single surrounding Markdown fence, or the text."""
    match = _FENCED.fullmatch(answer)
    return match["body"] + "\n" if match else answer


def special_ids(config: Mapping[str, Any], encoded_empty: Sequence[int]) -> tuple[int | None, int]:
    """Return (bos, eos) of a base model from its `config.json` and its tokenizer's encoding of the empty text.

    `encoded_empty` is `encode("", add_special_tokens=True).ids`: a tokenizer that begins texts with a token returns
    just that one. `bos_token_id` alone does not mean that the model was trained with it. Raises ValueError without an
    `eos_token_id`.
    """
    eos = config.get("eos_token_id")
    first = eos[0] if isinstance(eos, list) and eos else eos
    if not isinstance(first, int):
        raise ValueError("config.json has no `eos_token_id`")
    return (encoded_empty[0] if encoded_empty and encoded_empty[0] != first else None), first


def template_hash(tokenizer_sha256: str, bos: int | None, eos: int) -> str:
    """Return the digest of everything that determines a prompt's ids; stored with each adapter, checked in serving."""
    parts = [render("{instruction}", "{input}"), render("{instruction}"), tokenizer_sha256, bos, eos]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
