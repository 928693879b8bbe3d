"""Where each arm is strong and weak: rates by stage, by difficulty and by what was asked. Pure.

Every row of a group is in its denominator, whatever became of the answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from loraform_api.evaluation import EvaluationGroup, Rate, StageFigures
from loraform_api.finetunejob_status import ArmName
from loraform_api.statistics import clustered
from loraform_trainer.evaluate.arms import ALL, Row, Scored, stages_of

ByArm = Mapping[ArmName, Sequence[Scored]]
"""Greedy answers; every arm answered the same rows in the same order."""

MAX_GROUPS = 30
"""Groups listed, those with most rows; more would bury the page."""
UNSAID = "not said"
"""The group of rows that do not say."""


def rate(answers: Sequence[Scored], passed: Callable[[Scored], bool]) -> Rate:
    """Return the share of answers that passed."""
    clusters: dict[str, list[bool]] = defaultdict(list)
    for scored in answers:
        clusters[scored.row.cluster_key].append(passed(scored))
    low, high = clustered([(sum(outcomes), len(outcomes)) for outcomes in clusters.values()])
    count, rows = sum(map(sum, clusters.values())), len(answers)
    return Rate(passed=count, rows=rows, rate=count / rows if rows else 0.0, low=low, high=high)


def by_stage(answers: Sequence[Scored]) -> list[StageFigures]:
    """Return the rates of each stage over the rows whose suite asks for it, then those of all rows and stages."""
    found = []
    for stage in stages_of(answers):
        asked = [s for s in answers if stage in s.row.stages]
        raw, served = (
            rate(asked, partial(Scored.passed_stage, stage=stage, served=served)) for served in (False, True)
        )
        found.append(StageFigures(stage=stage, raw=raw, served=served))
    raw, served = rate(answers, lambda s: s.passed), rate(answers, lambda s: s.passed_served)
    return [*found, StageFigures(stage=ALL, raw=raw, served=served)]


def by_difficulty(by_arm: ByArm) -> list[EvaluationGroup]:
    """Return the groups, easiest first where difficulties are numbers; empty where no row tells one."""
    groups, _ = _groups(by_arm, lambda row: (row.difficulty or UNSAID,))
    return sorted(groups, key=lambda group: _numbers_first(group.name))


def by_suite(by_arm: ByArm) -> list[EvaluationGroup]:
    """Return the groups with most rows first."""
    groups, _ = _groups(by_arm, lambda row: (row.suite,))
    return groups


def by_type(by_arm: ByArm) -> tuple[list[EvaluationGroup], int]:
    """Return the groups with most rows first, and how many types were left out."""
    return _groups(by_arm, lambda row: row.types or (UNSAID,))


def _groups(by_arm: ByArm, names: Callable[[Row], Sequence[str]]) -> tuple[list[EvaluationGroup], int]:
    rows = [scored.row for scored in next(iter(by_arm.values()))]
    sizes = Counter(name for row in rows for name in dict.fromkeys(names(row)))
    if not sizes.keys() - {UNSAID}:
        return [], 0
    order = sorted(sizes, key=lambda name: (name == UNSAID, -sizes[name], name))
    sorted_out: dict[ArmName, dict[str, list[Scored]]] = {arm: defaultdict(list) for arm in by_arm}
    for arm, answers in by_arm.items():
        for scored in answers:
            for name in dict.fromkeys(names(scored.row)):
                sorted_out[arm][name].append(scored)
    groups = [
        EvaluationGroup(
            name=name, rates={arm: rate(groups_[name], lambda s: s.passed) for arm, groups_ in sorted_out.items()}
        )
        for name in order[:MAX_GROUPS]
    ]
    return groups, len(order) - len(groups)


def _numbers_first(name: str) -> tuple[bool, int, str]:
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
