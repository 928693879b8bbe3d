"""All promotion rules on simulated evaluations: candidates equal to, better and worse than the live version.

The noise is that of a real run. Two greedy runs of one adapter differ on few rows, by the engine's batching; two
trainings of one recipe differ on more, in both directions alike. A planted change moves rows one way above that noise.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from types import SimpleNamespace

import pytest

from loraform_api.finetunejob_status import EvaluationStatus
from loraform_api.iacmodel import Decision, PromotionSpec
from loraform_api.statistics import Pairs, upper_bound
from loraform_operator.iacmodel.policies import Evidence, decide

ROWS, TRIALS = 250, 200
BETTER = PromotionSpec(require_better_than_live=True)
NO_WORSE = PromotionSpec(require_better_than_live=False, max_regression_points=5)


def simulate(
    build: SimpleNamespace,
    gained: float,
    lost: float,
    *,
    promotion: PromotionSpec,
    same: bool = False,
    trials: int = TRIALS,
) -> Counter[Decision]:
    """Decide on `trials` candidates; each row is gained or lost with these probabilities. `same`: candidate is live."""
    generator, decisions = Random(2026), Counter[Decision]()
    for _ in range(trials):
        draws = [generator.random() for _ in range(ROWS)]
        won, gone = sum(d < gained for d in draws), sum(gained <= d < gained + lost for d in draws)
        both = (ROWS - won - gone) * 7 // 10
        counts = {"gained": won, "lost": gone, "both": both, "neither": ROWS - won - gone - both}
        evaluation = EvaluationStatus.model_validate(build.evaluation(live=build.digest(1), **counts))
        candidate = build.digest(1 if same else 2)
        decision, _ = decide(Evidence(evaluation, build.digest(1), 1, True, candidate), promotion)
        decisions[decision] += 1
    return decisions


@pytest.mark.parametrize("discordant", [0.0, 0.01, 0.04, 0.1, 0.2])
def test_the_live_adapter_is_not_better_than_itself(build: SimpleNamespace, discordant: float) -> None:
    decisions = simulate(build, discordant / 2, discordant / 2, promotion=BETTER, same=True)
    print(f"A/A, one adapter, {discordant:.0%} of the rows differ: accepted {decisions[Decision.ACCEPTED]} of {TRIALS}")
    assert decisions == {Decision.NOT_BETTER_THAN_LIVE: TRIALS}


@pytest.mark.parametrize("discordant", [0.04, 0.1, 0.2])
def test_an_equal_candidate_is_accepted_at_most_at_the_error_rate(build: SimpleNamespace, discordant: float) -> None:
    """A bound at 95 % accepts 5 %; the test allows three standard errors of the simulation on top."""
    trials = 2000
    decisions = simulate(build, discordant / 2, discordant / 2, promotion=BETTER, trials=trials)
    share = decisions[Decision.ACCEPTED] / trials
    print(f"A/A, two trainings, {discordant:.0%} of the rows differ: accepted {share:.1%} of {trials}")
    assert share <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


def test_identical_answers_are_not_better(build: SimpleNamespace) -> None:
    assert simulate(build, 0, 0, promotion=BETTER) == {Decision.NOT_BETTER_THAN_LIVE: TRIALS}


@pytest.mark.parametrize("discordant", [0.1, 0.16, 0.2])
def test_a_gain_of_ten_points_is_accepted(build: SimpleNamespace, discordant: float) -> None:
    decisions = simulate(build, discordant / 2 + 0.05, discordant / 2 - 0.05, promotion=BETTER)
    share = decisions[Decision.ACCEPTED] / TRIALS
    print(f"+10 points, {discordant:.0%} of the rows differ: accepted {share:.1%} of {TRIALS}")
    assert share >= 0.9


@pytest.mark.parametrize("discordant", [0.1, 0.16, 0.2])
def test_the_interval_of_a_loss_of_ten_points_is_below_zero(discordant: float) -> None:
    """An equal candidate is refused too, so the interval must show the loss."""
    generator, worse = Random(2026), 0
    for _ in range(TRIALS):
        draws = [generator.random() for _ in range(ROWS)]
        gained = sum(d < discordant / 2 - 0.05 for d in draws)
        changed = sum(d < discordant for d in draws)
        worse += upper_bound(Pairs(ROWS, gained=gained, lost=changed - gained)) < 0
    print(f"-10 points, {discordant:.0%} of the rows differ: called worse {worse / TRIALS:.1%} of {TRIALS}")
    assert worse / TRIALS >= 0.9


@pytest.mark.parametrize("promotion", [BETTER, NO_WORSE], ids=["better", "no-worse"])
@pytest.mark.parametrize("discordant", [0.1, 0.16, 0.2])
def test_a_loss_of_ten_points_is_refused(build: SimpleNamespace, discordant: float, promotion: PromotionSpec) -> None:
    decisions = simulate(build, discordant / 2 - 0.05, discordant / 2 + 0.05, promotion=promotion)
    share = decisions[Decision.NOT_BETTER_THAN_LIVE] / TRIALS
    print(f"-10 points, {discordant:.0%} of the rows differ: refused {share:.1%} of {TRIALS}")
    assert share >= 0.9


def test_the_live_adapter_is_accepted_when_no_improvement_is_required(build: SimpleNamespace) -> None:
    assert simulate(build, 0, 0, promotion=NO_WORSE, same=True) == {Decision.ACCEPTED: TRIALS}
