"""pass@k from drawn answers: an unbiased estimate, and how sure it is. Pure.

The uncertainty is that of the suite: other prompts might have been asked. So clusters of prompts are drawn again (rows
of one cluster are variations of one thing), never samples: ten answers to one prompt are no ten prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from random import Random

from loraform_api.evaluation import PassAtKFigures
from loraform_api.statistics import wilson

KS = (1, 5, 10)
RESAMPLES = 1000
TAIL = 0.025
"""Share of the resamples beyond each end: a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt's drawn answers."""

    cluster: str
    passed: int
    drawn: int


def unbiased(drawn: int, passed: int, k: int) -> float:
    """Return the chance that k of the `drawn` answers, taken without putting back, hold one that passed.

    M. Chen et al., Evaluating Large Language Models Trained on Code, 2021, equation 1.
    """
    if not 0 <= passed <= drawn or not 1 <= k <= drawn:
        raise ValueError(f"no pass@{k} of {passed} passed among {drawn}")
    return 1 - comb(drawn - passed, k) / comb(drawn, k)


def estimates(prompts: Sequence[Prompt], seed: int) -> list[PassAtKFigures]:
    """Return pass@k for each k that the number of drawn answers allows; the same seed gives the same intervals."""
    if not prompts:
        return []
    ks = [k for k in KS if k <= min(prompt.drawn for prompt in prompts)]
    clusters: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        clusters[prompt.cluster].append(prompt)
    found = []
    for k in ks:
        sums = [(sum(unbiased(p.drawn, p.passed, k) for p in members), len(members)) for members in clusters.values()]
        low, high = bootstrap(sums, seed)
        rate = sum(total for total, _ in sums) / len(prompts)
        found.append(PassAtKFigures(k=k, rate=rate, low=low, high=high, prompts=len(prompts), clusters=len(clusters)))
    return found


def bootstrap(clusters: Sequence[tuple[float, int]], seed: int) -> tuple[float, float]:
    """Return the percentile interval of the mean over prompts; a cluster is the sum of its prompts and their number.

    One cluster says nothing of others: then it is all that a rate can be. Where all clusters agree, drawing them again
    changes nothing, however few they are: then it is Wilson's interval of as many clusters.
    """
    if len(clusters) < 2:
        return 0.0, 1.0
    first = clusters[0][0] / clusters[0][1]
    if all(total / size == first for total, size in clusters):
        return wilson(round(first * len(clusters)), len(clusters))
    generator = Random(seed)  # noqa: S311 (the same page again from the same answers; nothing is kept secret by it)
    means = []
    for _ in range(RESAMPLES):
        drawn = generator.choices(clusters, k=len(clusters))
        means.append(sum(total for total, _ in drawn) / sum(size for _, size in drawn))
    means.sort()
    cut = int(TAIL * RESAMPLES)
    return means[cut], means[-1 - cut]
