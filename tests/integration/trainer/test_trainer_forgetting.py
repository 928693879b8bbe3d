"""The general rows, and the measure from log-probabilities. Real models: tests/integration/trainer."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from loraform_engine.prompting import Prompter
from loraform_engine.tokenizer import TextEncoder
from loraform_trainer.train import forgetting
from loraform_trainer.train.token_rows import TokenRow


class Flat(torch.nn.Module):
    """Stands for a PEFT model of eight tokens: the base gives all the same probability, the adapter prefers token 7."""

    device = torch.device("cpu")

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.bias, self.adapted = bias, True

    def disable_adapter(self) -> Any:
        self.adapted = False
        return nullcontext()

    def forward(self, input_ids: torch.Tensor, use_cache: bool, logits_to_keep: int) -> Any:
        logits = torch.zeros(len(input_ids), logits_to_keep, 8)
        if self.adapted:
            logits[..., 7] = self.bias
        return SimpleNamespace(logits=logits)


def vocabulary() -> Prompter:
    tokenizer = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Prompter(TextEncoder(tokenizer, frozenset()), (), (999,), "0" * 64)


def test_sixty_distinct_questions_fit_400_byte_tokens() -> None:
    rows = forgetting.general_rows(vocabulary(), 400)
    assert len({tuple(row.prompt_ids) for row in rows}) == 60
    assert not any(999 in row.response_ids for row in rows)  # the end of text is what every adapter learns
    assert len(forgetting.general_rows(vocabulary(), 100)) < 60


def test_an_adapter_that_prefers_another_token_gives_a_negative_difference() -> None:
    rows = [TokenRow(str(i), [1], [2] * (1 + i % 3)) for i in range(30)]
    found = forgetting.measure(Flat(2.0), rows)
    assert found is not None
    expected = torch.log(torch.tensor(8 / (7 + 2.718281828**2))).item()
    assert float(found.mean_difference) == pytest.approx(expected, abs=1e-3)
    assert found.prompts == 30


def test_few_rows_or_a_non_finite_probability_give_none() -> None:
    rows = [TokenRow(str(i), [1], [2]) for i in range(30)]
    assert forgetting.measure(Flat(2.0), rows[:19]) is None
    assert forgetting.measure(Flat(float("nan")), rows) is None
