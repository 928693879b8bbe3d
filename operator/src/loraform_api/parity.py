"""Does an engine serve the adapter that was trained? Rows written by `train`, compared after every load.

An engine can answer 200 to a load request and still serve the base model; so the check asks two things of its
log-probabilities: that they are the trainer's, and that they are not the base's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from loraform_api.meta import Sha256, WireModel

PARITY_ROWS = 16

TOLERANCE = {"float32": 0.05, "bfloat16": 0.5}
"""Largest difference of one token's log-probability (natural logarithm) between trainer and engine, by number type."""


class ParityRow(WireModel):
    prompt_ids: Annotated[list[int], Field(min_length=1)]
    response_ids: Annotated[list[int], Field(min_length=1)]
    adapter_logprobs: list[float]
    """Log-probability of each response token under base and adapter, by the trainer."""
    base_logprobs: list[float]
    """The same under the base alone."""

    @model_validator(mode="after")
    def _same_length(self) -> ParityRow:
        if not len(self.response_ids) == len(self.adapter_logprobs) == len(self.base_logprobs):
            raise ValueError("responseIds, adapterLogprobs and baseLogprobs must have one length")
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
    """One line: the figures, and when it failed, what that means."""


def request_body(row: ParityRow, model: str) -> dict[str, Any]:
    """Return the body for vLLM's `POST /v1/completions` whose answer `read_logprobs` understands."""
    return {
        "model": model,
        "prompt": [*row.prompt_ids, *row.response_ids],
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,  # no alternatives: only the prompt's own tokens
    }


def read_logprobs(row: ParityRow, body: Mapping[str, Any]) -> list[float]:
    """Return the response tokens' log-probabilities from the engine's answer; ValueError when it has none."""
    try:
        entries = body["choices"][0]["prompt_logprobs"][len(row.prompt_ids) :]
        found = [float(e[str(i)]["logprob"]) for i, e in zip(row.response_ids, entries, strict=True)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"the engine's answer has no log-probabilities of the asked tokens: {error!r}") from error
    return found


def compare(file: ParityFile, engine: Sequence[Sequence[float]]) -> ParityResult:
    """Compare the engine's log-probabilities (one list a row, in the file's order) with the trainer's."""
    tolerance = TOLERANCE[file.dtype] if file.dtype in TOLERANCE else min(TOLERANCE.values())
    to_adapter = _distance(engine, [row.adapter_logprobs for row in file.rows])
    to_base = _distance(engine, [row.base_logprobs for row in file.rows])
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
            # NaN compares false with everything: make it the worst difference instead
            yield difference if difference == difference else float("inf")  # noqa: PLR0124
