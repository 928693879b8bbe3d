"""How the tokens of an answer are chosen, with the bounds that gateway and agent hold requests to.

Every parameter is one request's own in vLLM's batch: the tokens of other requests stay the same. Penalties and seeds
make a step of the whole batch slower, penalties also take memory of the batch's size times the vocabulary's.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST_CHOICES = 4
"""Most answers to one request; each is verified."""
MOST_STOPS, STOP_LENGTH = 4, 200
"""Most stop words, and most characters of one."""
MOST_PENALTY, MOST_TOP_K = 2.0, 1_000_000

Penalty = Annotated[float, Field(ge=-MOST_PENALTY, le=MOST_PENALTY)]
Choices = Annotated[int, Field(ge=1, le=MOST_CHOICES)]
StopWord = Annotated[str, Field(min_length=1, max_length=STOP_LENGTH)]


class Sampling(BaseModel):
    """The defaults are greedy decoding, by which a version's answers are measured."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=MOST_TOP_K)] = 0
    """0 and -1: all tokens."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.1, le=MOST_PENALTY)] = 1.0
    stop: Annotated[list[StopWord], Field(max_length=MOST_STOPS)] = []
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, so that top_p, top_k, min_p and seed have no effect."""
        return self.temperature == 0

    @property
    def as_measured(self) -> bool:
        """Whether these parameters give the tokens of greedy decoding without stop words and penalties."""
        penalties = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty - 1)
        return self.greedy and not self.stop and not any(penalties)
