"""Parity check: does the engine serve the adapter that was trained?

An engine can answer 200 to a load request and still serve the base model. So after every load its log-probabilities
are compared with rows that stage `train` wrote: they must be the trainer's, and must not be the base's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from loraform_api.meta import Sha256, WireModel

PARITY_ROWS = 16
PROBES = 8
"""Most tokens of a row that are compared."""

TOLERANCE = {"float32": 0.01, "bfloat16": 0.5}
"""Largest difference of one token's log-probability (natural logarithm) between trainer and engine, by number type.

float32: vLLM 0.32 on a CPU (AVX2) differed from torch 2.13 by at most 1.5e-5 over 3,100 tokens of two models, while the
base differed by 10 and more; the bound leaves room for other processors. bfloat16 is not measured yet.
"""


class ParityRow(WireModel):
    prompt_ids: Annotated[list[int], Field(min_length=1)]
    response_ids: Annotated[list[int], Field(min_length=1)]
    adapter_logprobs: list[float]
    """Log-probability of each response token under base and adapter, as the trainer computes it."""
    base_logprobs: list[float]
    """The same under the base model alone."""

    @model_validator(mode="after")
    def _same_length(self) -> ParityRow:
        if not len(self.response_ids) == len(self.adapter_logprobs) == len(self.base_logprobs):
            raise ValueError("responseIds, adapterLogprobs and baseLogprobs must have the same length")
        return self


class ParityFile(WireModel):
    """`parity.json` beside an adapter."""

    template_hash: Sha256
    dtype: str
    """Number type that the trainer computed in, a key of `TOLERANCE`."""
    rows: Annotated[list[ParityRow], Field(min_length=1, max_length=PARITY_ROWS)]


@dataclass(frozen=True)
class ParityResult:
    passed: bool
    max_difference: float
    """Largest difference between engine and trainer, over all tokens."""
    message: str
    """One line with the figures and, after a failure, their meaning."""


def probes(row: ParityRow) -> list[int]:
    """Return the response positions to compare: those where adapter and base differ most, and some evenly spread."""
    size = len(row.response_ids)
    differing = sorted(range(size), key=lambda i: -abs(row.adapter_logprobs[i] - row.base_logprobs[i]))
    half = PROBES // 2
    return sorted({*differing[:half], *(i * size // half for i in range(half))})


def requests(row: ParityRow, model: str) -> list[dict[str, Any]]:
    """Return a body for vLLM's `POST /v1/completions` for each probe; `read_logprob` reads the responses.

    vLLM's `prompt_logprobs` would need one request a row, but with LoRA it stops the whole engine when another request
    is in the same step (0.32, CPU: the logits' LoRA indices are those of the sampled tokens). So each probe generates
    one token after the text before it, which the prefix cache makes cheap.
    """
    return [
        {
            "model": model,
            "prompt": [*row.prompt_ids, *row.response_ids[:position]],
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 1,
            "logprob_token_ids": [row.response_ids[position]],
            "return_tokens_as_token_ids": True,
        }
        for position in probes(row)
    ]


def read_logprob(request: Mapping[str, Any], response: Mapping[str, Any]) -> float:
    """Return the log-probability of the probe's token from the engine's response; raises ValueError without one."""
    (token,) = request["logprob_token_ids"]
    try:
        return float(response["choices"][0]["logprobs"]["top_logprobs"][0][f"token_id:{token}"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"the engine's response has no log-probability of token {token}: {error!r}") from error


def compare(file: ParityFile, engine: Sequence[Sequence[float]]) -> ParityResult:
    """Compare the engine's log-probabilities (one list a row, in the order of `requests`) with the trainer's."""
    tolerance = TOLERANCE.get(file.dtype, min(TOLERANCE.values()))
    to_adapter = _distance(engine, [[row.adapter_logprobs[i] for i in probes(row)] for row in file.rows])
    to_base = _distance(engine, [[row.base_logprobs[i] for i in probes(row)] for row in file.rows])
    figures = (
        f"largest log-probability difference to the trained adapter {to_adapter:.4g} (allowed {tolerance}), "
        f"to the base {to_base:.4g}"
    )
    if to_adapter <= tolerance < to_base:
        return ParityResult(True, to_adapter, figures)
    if to_base <= tolerance:
        meaning = "the engine answers as the base model: the adapter is not applied, or it changes nothing"
    else:
        meaning = "the engine does not reproduce the trained adapter"
    return ParityResult(False, to_adapter, f"{meaning}; {figures}")


def _distance(engine: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> float:
    return max(_differences(engine, reference))


def _differences(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> Iterator[float]:
    for a, b in zip(left, right, strict=True):
        for x, y in zip(a, b, strict=True):
            difference = abs(x - y)
            # NaN compares false with everything, so count it as the worst difference.
            yield difference if difference == difference else float("inf")  # noqa: PLR0124
