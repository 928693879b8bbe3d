"""Draws that differ from commit to commit and are the same for all runs of one: what is whole only in `make test-long`.

Each run of pytest prints the seed; with LORAFORM_SEED set to it the same is drawn again.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import TypeVar

T = TypeVar("T")


@cache
def seed() -> str:
    """Return LORAFORM_SEED, or the commit's id, or `none` where there is no git."""
    chosen = os.environ.get("LORAFORM_SEED")
    return chosen or _commit() or "none"


def _commit() -> str:
    try:
        asked = ["git", "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(
            asked, cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def some_of_each(items: Sequence[T], kinds: Callable[[T], Iterable[str]], count: int = 1) -> list[T]:
    """Draw few items, in their order, so that of every kind `count` are met, or all that there are."""
    random = Random(seed())
    by_kind: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        for kind in kinds(item):
            by_kind.setdefault(kind, []).append(index)
    drawn: set[int] = set()
    for having in sorted(by_kind.values(), key=len):  # what a rare kind draws counts for the common ones
        left = [index for index in having if index not in drawn]
        missing = max(0, count - len(having) + len(left))
        drawn.update(random.sample(left, min(missing, len(left))))
    return [items[index] for index in sorted(drawn)]
