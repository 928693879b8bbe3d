"""Where each arm is strong and weak: rates by stage, by difficulty and by what was asked. Pure.

Every row of a group is in its denominator, whatever became of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from loraform_api.evaluation import Group, Rate, StageFigures
from loraform_api.finetunejob_status import ArmName
from loraform_api.run import ArmResult
from loraform_api.statistics import wilson
from loraform_trainer.arms import Row, Scored

ByArm = Mapping[ArmName, Sequence[Scored]]
"""Greedy answers; every arm answered the same rows in the same order."""

MAX_GROUPS = 30
"""Groups listed, those with most rows; more would bury the page."""
UNSAID = "not said"
"""The group of rows that do not say."""


def rate(passed: int, rows: int) -> Rate:
    low, high = wilson(passed, rows)
    return Rate(passed=passed, rows=rows, rate=passed / rows if rows else 0.0, low=low, high=high)


def by_stage(arm: ArmResult) -> list[StageFigures]:
    return [
        StageFigures(stage=stage, raw=rate(counts.raw, arm.rows), served=rate(counts.served, arm.rows))
        for stage, counts in arm.counts.items()
    ]


def by_difficulty(by_arm: ByArm) -> list[Group]:
    """Return the groups, easiest first where difficulties are numbers; empty where no row tells one."""
    groups, _ = _groups(by_arm, lambda row: (row.difficulty or UNSAID,))
    return sorted(groups, key=lambda group: _numbers_first(group.name))


def by_type(by_arm: ByArm) -> tuple[list[Group], int]:
    """Return the groups with most rows first, and how many types were left out."""
    return _groups(by_arm, lambda row: row.types or (UNSAID,))


def _groups(by_arm: ByArm, names: Callable[[Row], Sequence[str]]) -> tuple[list[Group], int]:
    rows = [scored.row for scored in next(iter(by_arm.values()))]
    sizes = Counter(name for row in rows for name in dict.fromkeys(names(row)))
    if not sizes.keys() - {UNSAID}:
        return [], 0
    passed = {
        arm: Counter(name for s in answers if s.passed for name in dict.fromkeys(names(s.row)))
        for arm, answers in by_arm.items()
    }
    order = sorted(sizes, key=lambda name: (name == UNSAID, -sizes[name], name))
    groups = [
        Group(name=name, rates={arm: rate(counts[name], sizes[name]) for arm, counts in passed.items()})
        for name in order[:MAX_GROUPS]
    ]
    return groups, len(order) - len(groups)


def _numbers_first(name: str) -> tuple[bool, int, str]:
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
