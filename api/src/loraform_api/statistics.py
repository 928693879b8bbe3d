"""Confidence intervals of a rate (Wilson), a mean (Student) and a paired comparison (Tango).

In a paired comparison two arms answer the same rows, and only rows with different results matter. The interval inverts
the score test (T. Tango, Statistics in Medicine 17, 1998, 891-908), so that at difference 0 it is McNemar's test.
Promotion uses the one-sided 95 % bound: an equal candidate is called better in about 5 % of cases, at worst 5.2 % with
250 rows.

Rows of one cluster are variants of each other and tend to pass or fail together, so they carry less information than
independent rows. The variance is therefore that between clusters (docs/adr/0005): a comparison is corrected by its
design effect, a rate by its effective number of rows (L. Kish, Survey Sampling, 1965, 8.2).
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
"""Sums of squares below it are rounding errors."""
BISECTIONS = 60
"""Halvings of [-1, 1], more than a float can resolve."""


@dataclass(frozen=True)
class Pairs:
    """Rows by result; `gained` passed only in the candidate, `lost` only in the reference."""

    rows: int
    gained: int
    lost: int
    design_effect: float = 1.0
    """Ratio of the variance to that of independent rows."""

    def __post_init__(self) -> None:
        if self.gained < 0 or self.lost < 0 or self.gained + self.lost > self.rows or self.rows < 1:
            raise ValueError(f"not a paired outcome: {self.gained} gained and {self.lost} lost of {self.rows} rows")

    @property
    def difference(self) -> float:
        """Pass rate of the candidate minus that of the reference."""
        return (self.gained - self.lost) / self.rows

    def reversed(self) -> Pairs:
        """Return the same rows with candidate and reference exchanged."""
        return replace(self, gained=self.lost, lost=self.gained)


def design_effect(net_gains: Iterable[int], discordant: int) -> float:
    """Return the design effect of a comparison, at least 1.

    `net_gains` are each cluster's rows gained minus rows lost, `discordant` is the number of rows with different
    results. Without a true difference each net gain has mean 0, so the sum of squares estimates the variance, which for
    independent rows is `discordant`. A value below 1 would be chance.
    """
    return max(1.0, sum(net * net for net in net_gains) / discordant) if discordant else 1.0


def clustered(clusters: Sequence[tuple[float, int]], z: float = Z_TWO_SIDED_95) -> tuple[float, float]:
    """Return Wilson's interval of a mean over rows, for the effective number of rows.

    A cluster is the sum of its rows' values, each 0 to 1, and their number. If all clusters agree, the variance within
    clusters is unknown, and each cluster counts as one row.
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
    """Return the interval of a rate, two-sided at `z`; (0, 1) without rows.

    E. B. Wilson, Journal of the American Statistical Association 22, 1927, 209-212.
    """
    if not 0 <= passed <= rows:
        raise ValueError(f"not a rate: {passed} of {rows} rows")
    if rows == 0:
        return 0.0, 1.0
    share, weight = passed / rows, z * z / rows
    centre = (share + weight / 2) / (1 + weight)
    half = sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    # At 0 and 1 the formula returns the end itself, except for rounding errors.
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
    """Return the lower bound of the difference, one-sided at `z`."""
    low, high = -1.0, pairs.difference
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _score(pairs, middle) > z:
            low = middle
        else:
            high = middle
    return high


def upper_bound(pairs: Pairs, z: float = Z_ONE_SIDED_95) -> float:
    """Return the upper bound of the difference, one-sided at `z`."""
    return -lower_bound(pairs.reversed(), z)


def interval_text(low: float, high: float) -> str:
    """Return the interval of a difference as text, in percentage points."""
    return f"{low * 100:+.1f} to {high * 100:+.1f}, each bound one-sided 95 %"


def smallest_visible_difference(pairs: Pairs, z: float = Z_ONE_SIDED_95) -> float:
    """Return the smallest difference whose lower bound is above 0 with the same number of rows lost, at most 1.

    At difference 0 the score test needs d > z * sqrt(effect * (2 * lost + d)) of d = gained - lost: a quadratic in d.
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
    # The share of rows lost is the likelihood's only free parameter under the hypothesis.
    q = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + delta * (1 - delta)) * pairs.design_effect
    difference = gained - lost - n * delta
    if variance <= 0:
        return 0.0 if difference == 0 else copysign(inf, difference)
    return difference / sqrt(variance)
