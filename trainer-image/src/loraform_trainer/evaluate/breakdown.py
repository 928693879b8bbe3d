"""Pass rates of each arm by stage, difficulty, suite and resource type. Pure.

Every row of a group counts in its denominator, truncated and inconclusive answers included.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from loraform_api.evaluation import EvaluationGroup, Rate, StageFigures
from loraform_api.finetunejob_status import ArmName
from loraform_api.statistics import clustered
from loraform_trainer.evaluate.arms import ALL, EvaluationRow, ScoredAnswer, stages_of

ByArm = Mapping[ArmName, Sequence[ScoredAnswer]]
"""Greedy answers by arm; every arm has the same rows in the same order."""

MAX_GROUPS = 30
"""Maximum number of groups in a breakdown, those with most rows first."""
UNSPECIFIED = "not said"
"""EvaluationGroup name of rows without the attribute."""


def rate(answers: Sequence[ScoredAnswer], passed: Callable[[ScoredAnswer], bool]) -> Rate:
    """Return the share of answers for which `passed` is true, with its interval over clusters."""
    clusters: dict[str, list[bool]] = defaultdict(list)
    for scored in answers:
        clusters[scored.row.cluster_key].append(passed(scored))
    low, high = clustered([(sum(outcomes), len(outcomes)) for outcomes in clusters.values()])
    count, rows = sum(map(sum, clusters.values())), len(answers)
    return Rate(passed=count, rows=rows, rate=count / rows if rows else 0.0, low=low, high=high)


def by_stage(answers: Sequence[ScoredAnswer]) -> list[StageFigures]:
    """Return the rates of each stage over the rows that have it, then those of all stages over all rows."""
    figures = []
    for stage in stages_of(answers):
        with_stage = [s for s in answers if stage in s.row.stages]
        raw, served = (
            rate(with_stage, partial(ScoredAnswer.passed_stage, stage=stage, served=served)) for served in (False, True)
        )
        figures.append(StageFigures(stage=stage, raw=raw, served=served))
    raw, served = rate(answers, lambda s: s.passed), rate(answers, lambda s: s.passed_served)
    return [*figures, StageFigures(stage=ALL, raw=raw, served=served)]


def by_difficulty(by_arm: ByArm) -> list[EvaluationGroup]:
    """Return the groups by difficulty, numbers in ascending order; empty if no row has a difficulty."""
    groups, _ = _groups(by_arm, lambda row: (row.difficulty or UNSPECIFIED,))
    return sorted(groups, key=lambda group: _numbers_first(group.name))


def by_suite(by_arm: ByArm) -> list[EvaluationGroup]:
    """Return the groups by suite, those with most rows first."""
    groups, _ = _groups(by_arm, lambda row: (row.suite,))
    return groups


def by_type(by_arm: ByArm) -> tuple[list[EvaluationGroup], int]:
    """Return the groups by resource type, those with most rows first, and the number of types left out."""
    return _groups(by_arm, lambda row: row.types or (UNSPECIFIED,))


def _groups(by_arm: ByArm, names: Callable[[EvaluationRow], Sequence[str]]) -> tuple[list[EvaluationGroup], int]:
    rows = [scored.row for scored in next(iter(by_arm.values()))]
    sizes = Counter(name for row in rows for name in dict.fromkeys(names(row)))
    if not sizes.keys() - {UNSPECIFIED}:
        return [], 0
    order = sorted(sizes, key=lambda name: (name == UNSPECIFIED, -sizes[name], name))
    members: dict[ArmName, dict[str, list[ScoredAnswer]]] = {arm: defaultdict(list) for arm in by_arm}
    for arm, answers in by_arm.items():
        for scored in answers:
            for name in dict.fromkeys(names(scored.row)):
                members[arm][name].append(scored)
    groups = [
        EvaluationGroup(
            name=name, rates={arm: rate(by_name[name], lambda s: s.passed) for arm, by_name in members.items()}
        )
        for name in order[:MAX_GROUPS]
    ]
    return groups, len(order) - len(groups)


def _numbers_first(name: str) -> tuple[bool, int, str]:
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
