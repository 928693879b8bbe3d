"""Wilson's and Tango's intervals against published values, and by simulation."""

from __future__ import annotations

import random
from random import Random

import pytest

from loraform_api.statistics import (
    Pairs,
    clustered,
    design_effect,
    lower_bound,
    mean_interval,
    smallest_visible_difference,
    upper_bound,
    wilson,
)

Z_TWO_SIDED_95 = 1.959963984540054


@pytest.mark.parametrize(
    ("pairs", "z", "expected"),
    [
        # Airway hyper-responsiveness (Bentur et al. 2009), as worked by Fagerland, Lydersen and Laake (2014), table 5.
        (Pairs(21, gained=1, lost=7), Z_TWO_SIDED_95, (-0.517, -0.026)),
        # R, PropCIs::scoreci.mp(25, 28, 618, conf.level = 0.90).
        (Pairs(618, gained=28, lost=25), 1.6448536269514722, (-0.0148, 0.0247)),
        # No discordant pair: the closed form is z^2 / (n + z^2).
        (Pairs(200, gained=0, lost=0), 1.6448536269514722, (-0.01335, 0.01335)),
    ],
)
def test_tangos_intervals_are_as_published(pairs: Pairs, z: float, expected: tuple[float, float]) -> None:
    digits = len(str(abs(expected[0]))) - 2
    assert (round(lower_bound(pairs, z), digits), round(upper_bound(pairs, z), digits)) == expected


@pytest.mark.parametrize(("gained", "lost", "better"), [(2, 0, False), (3, 0, True), (4, 1, False), (6, 1, True)])
def test_at_difference_zero_the_score_is_mcnemars(gained: int, lost: int, better: bool) -> None:
    assert (lower_bound(Pairs(300, gained, lost)) > 0) is better


def test_bounds_stay_between_minus_one_and_one() -> None:
    assert lower_bound(Pairs(10, 10, 0)) == pytest.approx(0.5741, abs=1e-4)  # (n - z^2) / (n + z^2)
    assert upper_bound(Pairs(10, 10, 0)) == pytest.approx(1.0)
    assert lower_bound(Pairs(1, 0, 1)) == pytest.approx(-1.0)


@pytest.mark.parametrize("lost", [0, 1, 5, 50])
def test_the_smallest_visible_difference_is_the_first_that_counts(lost: int) -> None:
    net = round(smallest_visible_difference(Pairs(400, 0, lost)) * 400)
    assert lower_bound(Pairs(400, lost + net, lost)) > 0
    assert lower_bound(Pairs(400, lost + net - 1, lost)) <= 1e-9


def test_an_equal_adapter_is_called_better_at_the_nominal_rate() -> None:
    """An A/A test at temperature > 0 has equally many discordant rows of both kinds (at 0 it has none)."""
    generator = random.Random(7)
    trials, better = 3000, 0
    for _ in range(trials):
        discordant = sum(generator.random() < 0.1 for _ in range(250))
        gained = sum(generator.random() < 0.5 for _ in range(discordant))
        better += lower_bound(Pairs(250, gained, discordant - gained)) > 0
    # 5 % nominal and three standard errors of the simulation.
    assert better / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


def test_a_bound_covers_the_true_difference_at_the_nominal_rate() -> None:
    """True difference 4 points: 7 % gained, 3 % lost."""
    generator = random.Random(11)
    trials, covered = 1500, 0
    for _ in range(trials):
        draws = [generator.random() for _ in range(300)]
        pairs = Pairs(300, gained=sum(d < 0.07 for d in draws), lost=sum(0.07 <= d < 0.10 for d in draws))
        covered += lower_bound(pairs) <= 0.04
    assert 0.93 <= covered / trials <= 0.97


def test_impossible_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 gained and 0 lost of 2 rows"):
        Pairs(2, 3, 0)


@pytest.mark.parametrize(
    ("passed", "rows", "expected"),
    [
        # R. G. Newcombe, Statistics in Medicine 17, 1998, 857-872, table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (20, 20, (0.8389, 1.0)),
    ],
)
def test_wilsons_interval_is_as_published(passed: int, rows: int, expected: tuple[float, float]) -> None:
    assert wilson(passed, rows) == pytest.approx(expected, abs=5e-5)


def test_the_interval_without_rows_is_zero_to_one() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("passed", "rows"), [(2, 1), (-1, 5)])
def test_impossible_rates_are_refused(passed: int, rows: int) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        wilson(passed, rows)


def test_the_interval_of_a_mean_is_students() -> None:
    """Quantiles of t at 97.5 %: 2.0010 with 59 degrees of freedom, 2.262 with 9."""
    for count, quantile in ((60, 2.0010), (10, 2.262)):
        values = [float(i % 2) for i in range(count)]
        mean, low, high = mean_interval(values)
        error = (0.25 * count / (count - 1) / count) ** 0.5
        assert mean == 0.5
        assert ((high - mean) / error, (mean - low) / error) == pytest.approx((quantile, quantile), abs=0.005)
    with pytest.raises(ValueError, match="ten values"):
        mean_interval([1.0] * 9)


def test_independent_rows_have_wilsons_interval() -> None:
    assert clustered([(1.0, 1)] * 7 + [(0.0, 1)] * 23) == pytest.approx(wilson(7, 30))


def test_a_mean_of_shares_has_a_narrower_interval() -> None:
    low, high = clustered([(0.4, 1), (0.6, 1)] * 20)
    assert 0.46 < low < 0.5 < high < 0.54


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [
        ([], (0.0, 1.0)),
        ([(3.0, 6)], wilson(0.5, 1)),  # one cluster, one row: nothing tells how its rows differ
        ([(4.0, 4)] * 20, wilson(20, 20)),
        ([(0.0, 10)] * 23, wilson(0, 23)),
        ([(2.0, 4)] * 20, wilson(10, 20)),
    ],
)
def test_clusters_that_agree_count_as_one_row_each(
    clusters: list[tuple[float, int]], expected: tuple[float, float]
) -> None:
    assert clustered(clusters) == pytest.approx(expected)


def correlated(generator: Random, sizes: list[int], chance: float, together: float) -> list[list[bool]]:
    """Return rows by cluster; a row follows its cluster with probability `together`, otherwise it is independent."""
    found = []
    for size in sizes:
        leader = generator.random() < chance
        rows = [leader if generator.random() < together else generator.random() < chance for _ in range(size)]
        found.append(rows)
    return found


@pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
def test_rates_of_clustered_rows_are_covered(together: float) -> None:
    generator, trials, covered = Random(4), 400, 0
    for _ in range(trials):
        rows = correlated(generator, [5] * 50, 0.7, together)
        low, high = clustered([(sum(cluster), len(cluster)) for cluster in rows])
        covered += low <= 0.7 <= high
    assert covered / trials >= 0.92


@pytest.mark.parametrize("sizes", [[11] * 23, [5] * 50, [1] * 250], ids=["23", "50", "250"])
@pytest.mark.parametrize("together", [0.0, 0.6, 1.0])
def test_an_equal_candidate_is_not_called_better_on_repeated_rows(together: float, sizes: list[int]) -> None:
    """Without the design effect 27 % of these are called better in 23 clusters at 0.6."""
    generator, trials, better = Random(6), 1000, 0
    for _ in range(trials):
        # A fifth of the rows differ; which way is a matter of the cluster.
        ways = correlated(generator, sizes, 0.5, together)
        nets = [[(1 if way else -1) * (generator.random() < 0.2) for way in cluster] for cluster in ways]
        gained, lost = (sum(cluster.count(way) for cluster in nets) for way in (1, -1))
        effect = design_effect(map(sum, nets), gained + lost)
        better += lower_bound(Pairs(sum(sizes), gained, lost, effect)) > 0
    print(f"{len(sizes)} clusters, together {together}: called better {better / trials:.1%} of {trials}")
    assert better / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


def test_independent_rows_have_design_effect_one() -> None:
    assert design_effect([1, 1, -1, 1], 4) == 1.0
    assert design_effect([1, -1, 0], 4) == 1.0  # a cluster that contradicts itself is chance
    assert design_effect([3, -2], 5) == 13 / 5
    assert design_effect([], 0) == 1.0


def test_an_interval_is_as_wide_as_that_of_fewer_rows() -> None:
    assert lower_bound(Pairs(300, 60, 30, 3.0)) == pytest.approx(lower_bound(Pairs(100, 20, 10)))
    assert upper_bound(Pairs(300, 60, 30, 3.0)) == pytest.approx(upper_bound(Pairs(100, 20, 10)))
