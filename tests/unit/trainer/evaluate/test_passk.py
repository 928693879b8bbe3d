"""pass@k against counting every choice, and its interval over clusters."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from loraform_trainer.evaluate.passk import Prompt, estimates, unbiased


@pytest.mark.parametrize("drawn", range(1, 9))
def test_unbiased_equals_the_share_of_choices_with_a_passed_answer(drawn: int) -> None:
    for passed in range(drawn + 1):
        answers = [True] * passed + [False] * (drawn - passed)
        for k in range(1, drawn + 1):
            choices = list(combinations(answers, k))
            assert unbiased(drawn, passed, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_the_estimate_does_not_depend_on_the_number_of_samples() -> None:
    """A prompt passed by three answers in ten: pass@5 is 1 - 0.7^5, whatever number of answers estimates it."""
    generator, trials = Random(5), 4000
    for drawn in (5, 10):
        counts = [sum(generator.random() < 0.3 for _ in range(drawn)) for _ in range(trials)]
        mean = sum(unbiased(drawn, passed, 5) for passed in counts) / trials
        assert mean == pytest.approx(1 - 0.7**5, abs=0.02)


def test_each_k_up_to_the_samples_is_estimated() -> None:
    assert [e.k for e in estimates([Prompt("a", 1, 2)])] == [1]
    assert [e.k for e in estimates([Prompt("a", 1, 5)])] == [1, 5]
    assert [e.k for e in estimates([Prompt("a", 1, 20), Prompt("b", 1, 10)])] == [1, 5, 10]
    assert estimates([]) == []


def test_the_rate_is_the_mean_over_prompts_not_over_clusters() -> None:
    found = estimates([Prompt("a", 4, 4), Prompt("b", 0, 4), Prompt("b", 0, 4), Prompt("b", 0, 4)])[0]
    assert (found.rate, found.prompts, found.clusters) == (0.25, 4, 2)


def test_more_samples_per_prompt_do_not_narrow_the_interval() -> None:
    """Prompts that pass always or never: drawing more answers tells nothing new of other prompts."""
    few = estimates([Prompt(str(i), 5 * (i % 2), 5) for i in range(40)])[0]
    many = estimates([Prompt(str(i), 20 * (i % 2), 20) for i in range(40)])[0]
    assert (few.low, few.high) == (many.low, many.high)
    assert few.high - few.low > 0.25


def test_prompts_of_one_cluster_count_as_one_observation() -> None:
    alike = [Prompt(str(i // 10), 5 * (i // 10 % 2), 5) for i in range(100)]
    apart = [Prompt(str(i), prompt.passed, 5) for i, prompt in enumerate(alike)]
    clustered, alone = estimates(alike)[0], estimates(apart)[0]
    assert clustered.rate == alone.rate
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.1, 3.9), (3.9, 0.1)], ids=["even", "rare", "usual"])
def test_the_interval_covers_the_population_rate(a: float, b: float) -> None:
    """Rates of prompts vary by a beta distribution: 95 % nominal. Quantiles of bootstrapped means cover 82 to 94 %."""
    generator, trials, covered = Random(11), 500, 0
    for _ in range(trials):
        rates = [generator.betavariate(a, b) for _ in range(60)]
        prompts = [
            Prompt(str(i), sum(generator.random() < rate for _ in range(10)), 10) for i, rate in enumerate(rates)
        ]
        found = estimates(prompts)[0]
        covered += found.low <= a / (a + b) <= found.high
    print(f"covered {covered / trials:.1%} of {trials}")
    assert covered / trials >= 0.88


@pytest.mark.parametrize(("drawn", "passed", "k"), [(5, 6, 1), (5, -1, 1), (5, 1, 6), (5, 1, 0)])
def test_impossible_counts_are_refused(drawn: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="no pass@"):
        unbiased(drawn, passed, k)
