"""Unbiased estimates of pass@k from sampled answers, with intervals. Pure.

The interval's variance is that between clusters of prompts (rows of one cluster are variants of one task), as the
uncertainty comes from the choice of prompts: ten answers to one prompt are not ten prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from loraform_api.evaluation import PassAtKFigures
from loraform_api.statistics import clustered

KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The sampled answers to one prompt, counted."""

    cluster: str
    passed: int
    drawn: int


def unbiased(drawn: int, passed: int, k: int) -> float:
    """Return the probability that k of the `drawn` answers, chosen without replacement, include a passed one.

    M. Chen et al., Evaluating Large Language Models Trained on Code, 2021, equation 1.
    """
    if not 0 <= passed <= drawn or not 1 <= k <= drawn:
        raise ValueError(f"no pass@{k} of {passed} passed among {drawn}")
    return 1 - comb(drawn - passed, k) / comb(drawn, k)


def estimates(prompts: Sequence[Prompt]) -> list[PassAtKFigures]:
    """Return pass@k for each k of `KS` up to the number of sampled answers."""
    if not prompts:
        return []
    ks = [k for k in KS if k <= min(prompt.drawn for prompt in prompts)]
    clusters: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        clusters[prompt.cluster].append(prompt)
    figures = []
    for k in ks:
        sums = [(sum(unbiased(p.drawn, p.passed, k) for p in members), len(members)) for members in clusters.values()]
        low, high = clustered(sums)
        rate = sum(total for total, _ in sums) / len(prompts)
        figures.append(PassAtKFigures(k=k, rate=rate, low=low, high=high, prompts=len(prompts), clusters=len(clusters)))
    return figures
