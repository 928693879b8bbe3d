"""Measures `parity.json`: the trainer's log-probabilities of known responses, which the engine must reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from loraform_engine.parity import PARITY_ROWS, ParityFile, ParityRow
from loraform_trainer.train.token_rows import TokenRow


def choose(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """Return up to `PARITY_ROWS` rows, evenly spaced."""
    count = min(PARITY_ROWS, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def measure(model: Any, rows: Sequence[TokenRow], template_hash: str, dtype: str) -> ParityFile:
    """Return the parity file of a PEFT model: each response's log-probabilities with and without the adapter."""
    model.eval()
    with_adapter = [logprobs(model, row) for row in rows]
    with model.disable_adapter():
        without = [logprobs(model, row) for row in rows]
    return ParityFile(
        template_hash=template_hash,
        dtype=dtype,
        rows=[
            ParityRow(prompt_ids=r.prompt_ids, response_ids=r.response_ids, adapter_logprobs=a, base_logprobs=b)
            for r, a, b in zip(rows, with_adapter, without, strict=True)
        ],
    )


@torch.no_grad()
def logprobs(model: Any, row: TokenRow) -> list[float]:
    """Return the log-probability of each token of the response."""
    ids = torch.tensor([[*row.prompt_ids, *row.response_ids]], device=model.device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(row.response_ids) + 1).logits[0, :-1]
    by_token = torch.log_softmax(logits.float(), dim=-1)
    of_response = by_token.gather(1, ids[0, len(row.prompt_ids) :, None]).squeeze(1)
    return [round(value, 6) for value in of_response.tolist()]
