"""The plans that the security rules' golden cases rest on are what Terraform plans today."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from loraform_verifier.toolchain import ToolchainError

MAKER = Path(__file__).resolve().parents[1] / "cases/security/plan_fixtures.py"


def test_each_fixture_is_the_plan_of_the_program_beside_it() -> None:
    spec = importlib.util.spec_from_file_location("plan_fixtures", MAKER)
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    try:
        plans = maker.planned()
    except ToolchainError as error:
        pytest.skip(str(error))
    assert len(plans) > 50
    assert {str(p) for p, plan in plans.items() if json.loads(p.read_text()) != json.loads(json.dumps(plan))} == set()
