"""How sure a measured rate (Wilson) and a mean (Student) are, and how sure a paired comparison is (Tango).

Two arms answer the same rows; only rows on which they disagree tell them apart. The interval inverts the score test
(T. Tango, Statistics in Medicine 17, 1998, 891-908), so that at difference 0 it is exactly McNemar's test: an adapter
against itself is called better in at most the nominal share of trials. One-sided 95 %: what promotion reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, floor, inf, sqrt

Z_ONE_SIDED_95 = 1.6448536269514722
"""Quantile of the normal distribution at 95 %."""
Z_TWO_SIDED_95 = 1.959963984540054
"""Quantile at 97.5 %."""
BISECTIONS = 60
"""Halvings of [-1, 1]: more than a float can tell apart."""


@dataclass(frozen=True)
class Pairs:
    """Rows by outcome; `gained` passed in the candidate only, `lost` in the reference only."""

    rows: int
    gained: int
    lost: int

    def __post_init__(self) -> None:
        if self.gained < 0 or self.lost < 0 or self.gained + self.lost > self.rows or self.rows < 1:
            raise ValueError(f"not a paired outcome: {self.gained} gained and {self.lost} lost of {self.rows} rows")

    @property
    def difference(self) -> float:
        """Pass rate of the candidate less that of the reference."""
        return (self.gained - self.lost) / self.rows


def wilson(passed: int, rows: int, z: float = Z_TWO_SIDED_95) -> tuple[float, float]:
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
    """Return the mean and its two-sided 95 % interval by Student's t; raises ValueError with fewer than two values."""
    freedom = len(values) - 1
    if freedom < 1:
        raise ValueError(f"an interval needs two values, not {len(values)}")
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
    return -lower_bound(Pairs(pairs.rows, gained=pairs.lost, lost=pairs.gained), z)


def smallest_visible_difference(rows: int, lost: int, z: float = Z_ONE_SIDED_95) -> float:
    """Return the smallest difference whose lower bound is above 0 when `lost` rows are lost, at most 1.

    At difference 0 the score test asks d > z * sqrt(2 * lost + d) of d = gained - lost: a quadratic in d.
    """
    root = (z * z + sqrt(z**4 + 8 * lost * z * z)) / 2
    return min(1.0, (floor(root) + 1) / rows)


def _score(pairs: Pairs, delta: float) -> float:
    """Return the score statistic of the hypothesis that the true difference is `delta`."""
    n, gained, lost = pairs.rows, pairs.gained, pairs.lost
    a = 2 * n
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1 - delta)
    # The likelihood's only free parameter under the hypothesis: the share of rows lost.
    q = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + delta * (1 - delta))
    difference = gained - lost - n * delta
    if variance <= 0:
        return 0.0 if difference == 0 else copysign(inf, difference)
    return difference / sqrt(variance)
