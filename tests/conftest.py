"""What all tiers share."""

from __future__ import annotations

import pytest

from .drawn import seed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how to draw the same samples again."""
    terminalreporter.write_line(f"samples were drawn with LORAFORM_SEED={seed()}")
