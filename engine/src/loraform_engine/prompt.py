"""The prompt template `### Instruction: … ### Response: …`, rendered and tokenised.

Training, evaluation and serving all use it. The module needs no tokenizer library: callers pass a function that turns
text into token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Encode = Callable[[str], Sequence[int]]
"""Function from user text to token ids, without control tokens (`loraform_engine.tokenizer.TextEncoder.ids`)."""

INSTRUCTION_HEADER = "### Instruction:\n"
INPUT_HEADER = "\n\n### Input:\n"
RESPONSE_HEADER = "\n\n### Response:\n"


def render(instruction: str, input_text: str = "") -> list[str]:
    """Return the prompt as segments, headers and user text apart, each to be tokenised on its own."""
    segments = [INSTRUCTION_HEADER, instruction.strip()]
    if input_text.strip():
        segments += [INPUT_HEADER, input_text.strip()]
    return [*segments, RESPONSE_HEADER]


def asked_text(instruction: str, input_text: str) -> str:
    """Return all that a prompt asks, whose literals an answer may repeat."""
    return f"{instruction}\n{input_text}"


def prompt_tokens(encode: Encode, instruction: str, input_text: str = "", *, prefix: Sequence[int] = ()) -> list[int]:
    """Return the prompt's token ids; `prefix` are the ids that begin every text of the base model."""
    ids = list(prefix)
    for segment in render(instruction, input_text):
        ids.extend(encode(segment))
    return ids


def response_tokens(encode: Encode, response: str, *, end: int) -> list[int]:
    """Return the token ids of a training response; `end` ends them so that the model learns to stop."""
    return [*encode(response.strip() + "\n"), end]
