"""Measures forgetting: how an adapter changes the likelihood of good answers that are not Terraform.

The project's own sixty short questions and answers (`general.jsonl`) are never trained on. The end of text is not
scored: every adapter learns to end an answer, which would hide what it forgets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from math import isfinite
from typing import Any

from loraform_api.finetunejob_status import Forgetting
from loraform_api.statistics import mean_interval
from loraform_engine.prompting import Prompter
from loraform_trainer.train import parity
from loraform_trainer.train.token_rows import TokenRow

MIN_ROWS = 20
"""With fewer rows there is no result."""


def general_rows(vocabulary: Prompter, longest: int) -> list[TokenRow]:
    """Return the questions and answers of at most `longest` tokens."""
    text = resources.files("loraform_trainer.train").joinpath("general.jsonl").read_text("utf-8")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        row = json.loads(line)
        prompt, response = vocabulary.tokens(row["instruction"]), vocabulary.response(row["response"])
        rows.append(TokenRow(f"general:{number}", prompt, response[:-1]))
    return [row for row in rows if len(row) <= longest]


def measure(model: Any, rows: Sequence[TokenRow]) -> Forgetting | None:
    """Return the mean difference, adapter minus base, of an answer's log-probability per token, for a PEFT model.

    None with fewer than `MIN_ROWS` rows, or if a log-probability is not finite.
    """
    model.eval()
    tuned = [_mean(parity.logprobs(model, row)) for row in rows]
    with model.disable_adapter():
        base = [_mean(parity.logprobs(model, row)) for row in rows]
    differences = [t - b for t, b in zip(tuned, base, strict=True)]
    if len(differences) < MIN_ROWS or not all(map(isfinite, differences)):
        return None
    mean, low, high = mean_interval(differences)
    return Forgetting(mean_difference=f"{mean:.4f}", low=f"{low:.4f}", high=f"{high:.4f}", prompts=len(differences))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
