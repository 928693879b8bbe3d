"""Rows of the suite are answered at the gateway, greedily, as they were evaluated: the same text from a real vLLM."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loraform_demo.run_kube import Kube

from .asked_rows import WAYS, Row, ask_all, evaluated_rows, holds


@pytest.mark.parametrize(("ask", "choose", "input_from"), WAYS)
def test_a_row_is_answered_as_it_was_evaluated(
    kube: Kube, ask: Callable[[str, Row], Row], choose: Callable[[list[Row]], list[Row]], input_from: str
) -> None:
    rows = choose(evaluated_rows(kube))
    asked = ask_all(kube, rows, ask)
    evaluated = sum(holds(row, row["raw"]) for row in rows)
    print(f"{ask.__name__}: {asked}; evaluated: {evaluated} hold what was asked")
    assert (asked.rows, asked.input_from) == (10 if input_from == "None" else 40, {input_from})
    # Sums of another batch differ in their last bits, which may turn a near tie: one row is allowed to.
    assert asked.as_evaluated >= asked.rows - 1
    assert abs(asked.holding - evaluated) <= 1
