from __future__ import annotations

import pytest

from loraform_operator.finetunejob.results import rate


@pytest.mark.parametrize(
    ("passed", "rows", "text"),
    [(0, 200, "0.0000"), (190, 200, "0.9500"), (200, 200, "1.0000"), (99999, 100_000, "0.9999"), (0, 0, "0.0000")],
)
def test_rates_are_rounded_down(passed: int, rows: int, text: str) -> None:
    assert rate(passed, rows) == text
