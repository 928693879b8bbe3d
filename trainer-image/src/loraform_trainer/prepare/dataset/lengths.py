"""The last check, the length, made while rows become token ids; and what was seen of lengths on the way."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from loraform_trainer.prepare.dataset import token_files
from loraform_trainer.prepare.dataset.dropped import TOO_LONG, Ledger
from loraform_trainer.runtime.rows import Row
from loraform_trainer.runtime.tokens import BaseTokens


@dataclass
class Measured:
    """Tokenises rows, and drops those of more than `longest` tokens, prompt and response together."""

    vocabulary: BaseTokens
    longest: int
    ledger: Ledger
    prompt_lengths: array[int] = field(default_factory=lambda: array("q"))
    """Tokens of the prompt, for each row that was short enough."""
    response_lengths: array[int] = field(default_factory=lambda: array("q"))

    @property
    def tokens(self) -> int:
        return sum(self.prompt_lengths) + sum(self.response_lengths)

    def block(self, rows: Sequence[Row]) -> tuple[pa.RecordBatch, list[Row]]:
        """Return the rows that are short enough, as `tokenised.write` takes them and as they are."""
        prompts, responses = self.vocabulary.batch(rows)
        fitting = [i for i, row in enumerate(rows) if self._fits(row, prompts[i], responses[i])]
        ids = [rows[i].id for i in fitting]
        block = token_files.block(ids, [prompts[i] for i in fitting], [responses[i] for i in fitting])
        return block, [rows[i] for i in fitting]

    def fits(self, row: Row) -> bool:
        """Say whether a row is short enough; counts nothing."""
        prompts, responses = self.vocabulary.batch([row])
        return len(prompts[0]) + len(responses[0]) <= self.longest

    def _fits(self, row: Row, prompt: list[int], response: list[int]) -> bool:
        size = len(prompt) + len(response)
        if size > self.longest:
            self.ledger.drop(TOO_LONG, f"{row.id}: {size} tokens, more than {self.longest}")
            return False
        self.prompt_lengths.append(len(prompt))
        self.response_lengths.append(len(response))
        return True
