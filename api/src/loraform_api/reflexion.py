"""Figures of Reflexion: what repairs of a candidate's answers are worth."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from loraform_api.meta import ApiModel, SignedDecimalString, keyed_by


class Gain(ApiModel):
    """Comparison of two ways to answer the same rows, by rows with different results."""

    gained: Annotated[int, Field(ge=0, le=2**53)]
    """Rows that passed only this way."""
    lost: Annotated[int, Field(ge=0, le=2**53)]
    """Rows that passed only the other way."""
    low: SignedDecimalString
    """Lower bound of the difference of the rates: Tango's interval, each bound one-sided 95 %."""
    high: SignedDecimalString
    """Upper end of that interval."""


class ReflexionRound(ApiModel):
    """Results after one round of repair."""

    round: Annotated[int, Field(ge=0, le=2)]
    """Number of the round; 0 is the first answer."""
    passed: Annotated[int, Field(ge=0, le=2**53)]
    """Rows whose best answer so far passes every stage after the rewrite."""
    repaired: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Rows for which a repair was generated in this round."""
    tokens: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Tokens of this round, prompts and answers."""


class BestOfN(ApiModel):
    """The same rows with sampled answers instead of repairs, for the same number of tokens."""

    passed: Annotated[int, Field(ge=0, le=2**53)]
    answers: Annotated[int, Field(ge=0, le=2**53)]
    """Number of sampled answers."""
    tokens: Annotated[int, Field(ge=0, le=2**53)]
    """Tokens of their prompts and answers; the last answer to a row may exceed the tokens of its repairs."""


class Reflexion(ApiModel):
    """Reflexion: results of letting the candidate repair its answers. It is measured, not served."""

    rows: Annotated[int, Field(ge=0, le=2**53)]
    rounds: Annotated[
        list[ReflexionRound],
        Field(max_length=3, json_schema_extra=keyed_by("round")),
    ]
    gain: Gain
    """The last round compared with the first answers."""
    best_of_n: BestOfN
    over_best_of_n: Gain
    """The last round compared with best-of-n."""
