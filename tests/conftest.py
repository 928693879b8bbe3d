"""What all tiers share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from .drawn import seed

# A test is judged by what it finds: seconds are noise on a machine with two cores.
settings.register_profile("loraform", deadline=None)
settings.load_profile("loraform")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how to draw the same samples again."""
    terminalreporter.write_line(f"samples were drawn with LORAFORM_SEED={seed()}")
