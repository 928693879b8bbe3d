"""The one prompt: rendered *and tokenised* here for training, evaluation and serving.

The template is `### Instruction: … ### Response: …`. User text is tokenised with special
tokens off, so that nobody can write an end-of-text token into a prompt. The module knows no tokenizer library: it
asks for a function that turns text into token ids without adding or recognising special tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Encode = Callable[[str], Sequence[int]]
"""Text to token ids; must neither add special tokens nor recognise them inside the text
(`tokenizers.Tokenizer` with `encode_special_tokens = True` and `encode(text, add_special_tokens=False).ids`)."""

INSTRUCTION_HEADER = "### Instruction:\n"
INPUT_HEADER = "\n\n### Input:\n"
RESPONSE_HEADER = "\n\n### Response:\n"


_FENCED = re.compile(r"\s*```[\w-]*[ \t]*\n(?P<body>.*?)\n?[ \t]*```\s*", re.DOTALL)


def render(instruction: str, input_text: str = "") -> list[str]:
    """Return the prompt as segments (headers and user text apart), each to be tokenised on its own."""
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
    """Return the token ids of a training response, ending in `eos` (learnt, so that generation stops)."""
    return [*encode(response.strip() + "\n"), eos]


def unfenced(answer: str) -> str:
    """Return the program in a model's answer: what a single surrounding Markdown fence holds, else the text itself."""
    match = _FENCED.fullmatch(answer)
    return match["body"] + "\n" if match else answer


def special_ids(config: Mapping[str, Any], encoded_nothing: Sequence[int]) -> tuple[int | None, int]:
    """Return (bos, eos) of a base model from its `config.json` and what its tokenizer makes of the empty text.

    A tokenizer that begins texts with a token puts just that one around the empty text (`encode("",
    add_special_tokens=True).ids`); `bos_token_id` alone does not say that the model was trained with it. Raises
    ValueError without an `eos_token_id`.
    """
    eos = config.get("eos_token_id")
    first = eos[0] if isinstance(eos, list) and eos else eos
    if not isinstance(first, int):
        raise ValueError("config.json has no `eos_token_id`")
    return (encoded_nothing[0] if encoded_nothing and encoded_nothing[0] != first else None), first


def template_hash(tokenizer_sha256: str, bos: int | None, eos: int) -> str:
    """Return the digest of everything that decides a prompt's ids; stored with each adapter and checked in serving."""
    what = [render("{instruction}", "{input}"), render("{instruction}"), tokenizer_sha256, bos, eos]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
