"""How sure a measured rate (Wilson) and a mean (Student) are, and how sure a paired comparison is (Tango).

Two arms answer the same rows; only rows on which they disagree tell them apart. The interval inverts the score test
(T. Tango, Statistics in Medicine 17, 1998, 891-908), so that at difference 0 it is exactly McNemar's test. One-sided
95 %: what promotion reads; the chance that it calls what is as good better is about 5 %, at worst 5.2 % of 250 rows.

Rows of one cluster vary one thing and tend to pass or fail together: ten of them prove less than ten others. Then the
variance is that between clusters (docs/adr/0005): of a comparison by its design effect, of a rate by the number of
rows without anything in common that would be as uncertain (L. Kish, Survey Sampling, 1965, 8.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import copysign, floor, inf, sqrt

Z_ONE_SIDED_95 = 1.6448536269514722
"""Quantile of the normal distribution at 95 %."""
Z_TWO_SIDED_95 = 1.959963984540054
"""Quantile at 97.5 %."""
TINY = 1e-9
"""Below it a sum of squares is rounding."""
BISECTIONS = 60
"""Halvings of [-1, 1]: more than a float can tell apart."""


@dataclass(frozen=True)
class Pairs:
    """Rows by outcome; `gained` passed in the candidate only, `lost` in the reference only."""

    rows: int
    gained: int
    lost: int
    design_effect: float = 1.0
    """How many times the variance is that of as many rows that have nothing in common."""

    def __post_init__(self) -> None:
        if self.gained < 0 or self.lost < 0 or self.gained + self.lost > self.rows or self.rows < 1:
            raise ValueError(f"not a paired outcome: {self.gained} gained and {self.lost} lost of {self.rows} rows")

    @property
    def difference(self) -> float:
        """Pass rate of the candidate less that of the reference."""
        return (self.gained - self.lost) / self.rows

    def reversed(self) -> Pairs:
        """Return the same outcomes with candidate and reference exchanged."""
        return replace(self, gained=self.lost, lost=self.gained)


def design_effect(net_gains: Iterable[int], discordant: int) -> float:
    """Return the design effect of a comparison from each cluster's rows gained less rows lost, and all such rows.

    Without a difference each cluster's net gain has mean 0, so that the sum of squares estimates the variance; rows
    that have nothing in common make it `discordant`. Never below 1: contradictions within a cluster are chance.
    """
    return max(1.0, sum(net * net for net in net_gains) / discordant) if discordant else 1.0


def clustered(clusters: Sequence[tuple[float, int]], z: float = Z_TWO_SIDED_95) -> tuple[float, float]:
    """Return Wilson's interval of a mean over rows. A cluster is the sum of its rows, each 0 to 1, and their number.

    It is that of as many rows as would be as uncertain. Where all clusters agree nothing tells how rows of one cluster
    differ: then each cluster counts as one row.
    """
    rows, total = sum(size for _, size in clusters), sum(sum_ for sum_, _ in clusters)
    if not rows:
        return 0.0, 1.0
    mean, number = total / rows, len(clusters)
    spread = sum((sum_ - size * mean) ** 2 for sum_, size in clusters)
    effective = float(number)
    if number > 1 and spread > TINY:
        effective = mean * (1 - mean) * rows**2 / spread * (1 - 1 / number) / (1 - 1 / rows)
    return wilson(mean * effective, effective, z)


def wilson(passed: float, rows: float, z: float = Z_TWO_SIDED_95) -> tuple[float, float]:
    """Return the interval of a rate, two-sided at `z`; without rows, all that a rate can be.

    E. B. Wilson, Journal of the American Statistical Association 22, 1927, 209-212.
    """
    if not 0 <= passed <= rows:
        raise ValueError(f"not a rate: {passed} of {rows} rows")
    if rows == 0:
        return 0.0, 1.0
    share, weight = passed / rows, z * z / rows
    centre = (share + weight / 2) / (1 + weight)
    half = sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    # At the ends of the scale the formula gives the end itself, but for rounding.
    return (0.0 if passed == 0 else centre - half), (1.0 if passed == rows else centre + half)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and its two-sided 95 % interval by Student's t; raises ValueError with fewer than ten values."""
    freedom = len(values) - 1
    if freedom < 9:
        raise ValueError(f"an interval needs ten values, not {len(values)}")
    mean = sum(values) / len(values)
    error = sqrt(sum((value - mean) ** 2 for value in values) / freedom / len(values))
    z = Z_TWO_SIDED_95
    # Student's quantile from the normal one (Abramowitz and Stegun, 26.7.5).
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return mean, mean - t * error, mean + t * error


def lower_bound(pairs: Pairs, z: float = Z_ONE_SIDED_95) -> float:
    """Return the smallest difference that the outcome does not rule out, one-sided at `z`."""
    low, high = -1.0, pairs.difference
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _score(pairs, middle) > z:
            low = middle
        else:
            high = middle
    return high


def upper_bound(pairs: Pairs, z: float = Z_ONE_SIDED_95) -> float:
    """Return the largest difference that the outcome does not rule out, one-sided at `z`."""
    return -lower_bound(pairs.reversed(), z)


def interval_in_words(low: float, high: float) -> str:
    """Return the interval of a difference in points."""
    return f"{low * 100:+.1f} to {high * 100:+.1f}, each bound one-sided 95 %"


def smallest_visible_difference(pairs: Pairs, z: float = Z_ONE_SIDED_95) -> float:
    """Return the smallest difference whose lower bound is above 0 with as many rows lost, at most 1.

    At difference 0 the score test asks d > z * sqrt(effect * (2 * lost + d)) of d = gained - lost: a quadratic in d.
    """
    square = z * z * pairs.design_effect
    root = (square + sqrt(square * square + 8 * pairs.lost * square)) / 2
    return min(1.0, (floor(root) + 1) / pairs.rows)


def _score(pairs: Pairs, delta: float) -> float:
    """Return the score statistic of the hypothesis that the true difference is `delta`."""
    n, gained, lost = pairs.rows, pairs.gained, pairs.lost
    a = 2 * n
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1 - delta)
    # The likelihood's only free parameter under the hypothesis: the share of rows lost.
    q = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + delta * (1 - delta)) * pairs.design_effect
    difference = gained - lost - n * delta
    if variance <= 0:
        return 0.0 if difference == 0 else copysign(inf, difference)
    return difference / sqrt(variance)
