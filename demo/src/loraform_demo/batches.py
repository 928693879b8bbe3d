"""Turns rows of the corpora into batches of token ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from tokenizers import Tokenizer

from loraform_demo.corpus import Row, base_rows
from loraform_demo.tokenizer import EOS, PAD
from loraform_engine.prompt import prompt_tokens, response_tokens

IGNORED = -100
BATCHES_SORTED_TOGETHER = 16


@dataclass(frozen=True)
class Batch:
    """Ids padded at the right, and the same shape of labels with `IGNORED` where nothing is to be learnt."""

    ids: torch.Tensor
    labels: torch.Tensor


class Encoder:
    """Encodes rows as the trainer and the engine do, by the one prompt function."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.eos, self.pad = vocabulary[EOS], vocabulary[PAD]
        self.pieces = sorted(piece for piece in vocabulary if re.fullmatch("[a-z]+", piece))

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prompt(self, instruction: str, given: str) -> list[int]:
        return prompt_tokens(self.encode, instruction, given)

    def example(self, row: Row) -> tuple[list[int], int]:
        """Return the row's ids and how many of them belong to the prompt."""
        prompt = self.prompt(row.instruction, row.input)
        return prompt + response_tokens(self.encode, row.response, end=self.eos), len(prompt)

    def batch(self, examples: list[tuple[list[int], int]]) -> Batch:
        width = max(len(ids) for ids, _ in examples)
        ids = torch.full((len(examples), width), self.pad)
        labels = torch.full((len(examples), width), IGNORED)
        for i, (tokens, prompt) in enumerate(examples):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            labels[i, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
        return Batch(ids, labels)


def row_batches(encoder: Encoder, size: int, seed: int) -> Iterator[Batch]:
    """Yield batches of the base's corpus without end; rows of like length share a batch."""
    rows, rng = base_rows(seed, encoder.pieces), Random(seed)
    while True:
        examples = [encoder.example(row) for row in islice(rows, size * BATCHES_SORTED_TOGETHER)]
        examples.sort(key=lambda example: len(example[0]))
        chunks = [examples[i : i + size] for i in range(0, len(examples), size)]
        rng.shuffle(chunks)
        for chunk in chunks:
            yield encoder.batch(chunk)
