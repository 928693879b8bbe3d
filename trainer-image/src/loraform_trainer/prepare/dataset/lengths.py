"""Tokenises rows, drops those that are too long (the last check), and records the lengths of the others."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from loraform_engine.prompting import Prompter
from loraform_trainer.prepare.dataset import token_files
from loraform_trainer.prepare.dataset.drop_counts import TOO_LONG, DropCounts
from loraform_trainer.prepare.dataset.row_tokens import encode_rows
from loraform_trainer.prepare.dataset.rows import TrainingRow


@dataclass
class LengthFilter:
    """Tokenises rows and drops those of more than `max_tokens` tokens, prompt and response together."""

    vocabulary: Prompter
    max_tokens: int
    drops: DropCounts
    prompt_lengths: array[int] = field(default_factory=lambda: array("q"))
    """Tokens of the prompt, for each kept row."""
    response_lengths: array[int] = field(default_factory=lambda: array("q"))
    """Tokens of the response, for each kept row."""

    @property
    def tokens(self) -> int:
        """Tokens of all kept rows."""
        return sum(self.prompt_lengths) + sum(self.response_lengths)

    def tokenise(self, rows: Sequence[TrainingRow]) -> tuple[pa.RecordBatch, list[TrainingRow]]:
        """Return the rows that are short enough: their token ids for `token_files.write`, and the rows."""
        prompts, responses = encode_rows(self.vocabulary, rows)
        kept = [i for i, row in enumerate(rows) if self._keep(row, prompts[i], responses[i])]
        ids = [rows[i].id for i in kept]
        batch = token_files.record_batch(ids, [prompts[i] for i in kept], [responses[i] for i in kept])
        return batch, [rows[i] for i in kept]

    def fits(self, row: TrainingRow) -> bool:
        """Return whether a row is short enough, without counting or recording it."""
        prompts, responses = encode_rows(self.vocabulary, [row])
        return len(prompts[0]) + len(responses[0]) <= self.max_tokens

    def _keep(self, row: TrainingRow, prompt: list[int], response: list[int]) -> bool:
        size = len(prompt) + len(response)
        if size > self.max_tokens:
            self.drops.add(TOO_LONG, f"{row.id}: {size} tokens, more than {self.max_tokens}")
            return False
        self.prompt_lengths.append(len(prompt))
        self.response_lengths.append(len(response))
        return True
