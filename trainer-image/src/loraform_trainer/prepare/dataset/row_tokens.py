"""Encodes training rows in batches, which is faster than one text at a time."""

from __future__ import annotations

from collections.abc import Sequence

from loraform_engine.prompt import prompt_tokens, response_tokens
from loraform_engine.prompting import Prompter
from loraform_trainer.prepare.dataset.rows import TrainingRow


def encode_rows(vocabulary: Prompter, rows: Sequence[TrainingRow]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the token ids of all prompts and of all responses, equal to those of `vocabulary` for each text.

    The templates are applied twice: first to collect their texts, which are encoded together, then to join the ids.
    """
    texts: dict[str, None] = {}

    def collect(text: str) -> list[int]:
        texts[text] = None
        return []

    for row in rows:
        prompt_tokens(collect, row.instruction, row.input)
        response_tokens(collect, row.response, end=vocabulary.ends[0])
    ids = dict(zip(texts, vocabulary.encoder.batch(list(texts)), strict=True))
    prompts = [prompt_tokens(ids.__getitem__, row.instruction, row.input, prefix=vocabulary.prefix) for row in rows]
    return prompts, [response_tokens(ids.__getitem__, row.response, end=vocabulary.ends[0]) for row in rows]
