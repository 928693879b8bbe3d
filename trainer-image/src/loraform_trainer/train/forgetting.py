"""What an adapter costs elsewhere: how much less likely it makes good answers that have nothing to do with Terraform.

Sixty short questions and answers of the project's own (`general.jsonl`), never trained on. The end of text is left out:
every adapter learns to end an answer, which would hide what it forgets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from math import isfinite
from typing import Any

from loraform_api.finetunejob_status import Forgetting
from loraform_api.statistics import mean_interval
from loraform_trainer.runtime.tokens import BaseTokens
from loraform_trainer.train import parity
from loraform_trainer.train.token_rows import TokenRow

FEWEST = 20
"""Rows below which nothing is said."""


def rows(vocabulary: BaseTokens, longest: int) -> list[TokenRow]:
    """Return the questions and answers that fit into `longest` tokens."""
    text = resources.files("loraform_trainer.train").joinpath("general.jsonl").read_text("utf-8")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        row = json.loads(line)
        prompt, response = vocabulary.prompt(row["instruction"], ""), vocabulary.response(row["response"])
        found.append(TokenRow(f"general:{number}", prompt, response[:-1]))
    return [row for row in found if len(row) <= longest]


def measure(model: Any, asked: Sequence[TokenRow]) -> Forgetting | None:
    """Return the mean change of an answer's log-probability per token, adapter less base, of a PEFT model.

    None with fewer than `FEWEST` rows, or where a probability is no number.
    """
    model.eval()
    tuned = [_mean(parity.logprobs(model, row)) for row in asked]
    with model.disable_adapter():
        base = [_mean(parity.logprobs(model, row)) for row in asked]
    differences = [t - b for t, b in zip(tuned, base, strict=True)]
    if len(differences) < FEWEST or not all(map(isfinite, differences)):
        return None
    mean, low, high = mean_interval(differences)
    return Forgetting(mean_difference=f"{mean:.4f}", low=f"{low:.4f}", high=f"{high:.4f}", prompts=len(differences))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
