"""The suite's rows with an input are asked at the gateway as they were evaluated."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loraform_demo.run_kube import Kube

from .asked_inputs import Row, ask_all, by_fence, by_field, evaluated_rows, holds


@pytest.mark.parametrize(("ask", "input_from"), [(by_field, "Field"), (by_fence, "Fence")])
def test_a_row_with_an_input_is_answered_as_it_was_evaluated(
    kube: Kube, ask: Callable[[str, Row], Row], input_from: str
) -> None:
    rows = evaluated_rows(kube)
    asked = ask_all(kube, rows, ask)
    evaluated = sum(holds(row, row["raw"]) for row in rows)
    print(f"{ask.__name__}: {asked}; evaluated: {evaluated} hold what was asked")
    assert (asked.rows, asked.input_from) == (40, {input_from})
    # Sums of another batch differ in their last bits, which may turn a near tie: one row is allowed to.
    assert asked.as_evaluated >= asked.rows - 1
    assert abs(asked.holding - evaluated) <= 1
