from __future__ import annotations

import json
from pathlib import Path

import pytest

from .base_models import LLAMA_8B


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """The folder of a base with only a config.json."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    return tmp_path
