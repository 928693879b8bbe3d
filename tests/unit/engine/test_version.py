"""Which vLLMs may serve adapters."""

from __future__ import annotations

import re

import pytest

from loraform_engine.errors import NotServable
from loraform_engine.version import LEAST_VERSION, check_version


@pytest.mark.parametrize("version", [LEAST_VERSION, "0.32.0+cpu", "0.27.0rc1", "0.100.0", "1.0"])
def test_newer_versions_may_serve(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["0.25.1", "0.9.2", "0.25.2.dev3+g123", "dev", "unknown", ""])
def test_older_and_unknown_versions_may_not(version: str) -> None:
    message = f"the engine is vLLM {version}, but adapters need vLLM {LEAST_VERSION} or newer: change"
    with pytest.raises(NotServable, match=re.escape(message)):
        check_version(version)
